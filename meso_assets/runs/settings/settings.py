"""The settings of the platform: one typed object, from the environment or a file.

What belongs here: what a lab may choose, with its default and meaning. What does not: options of suite2p (see
``suite2p``, which overrides them by name) and anything that a session's own files say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from meso_core.errors import SettingsError
from meso_core.json_text import json_text
from meso_core.machine import SCRATCH_GB, cores_at_hand, memory_in_all, side_by_side
from meso_core.qc import Limits, parse_limits
from meso_core.session import LEFT_OUT_FOVS, SessionKey, parse_left_out

from .engines import EngineSettings
from .roots import parse_root, told_roots
from .variables import PREFIX, settings_file, shown_value, variable_of, warn_of_unknown_variables

if TYPE_CHECKING:
    from meso_core.imaging.options.overrides import Suite2pOverrides
    from meso_core.location import LocationSettings
    from meso_core.storage import SessionRoots


def _memory_gb() -> float:
    return max(0.1, round(memory_in_all() / 1e9, 1))


class MesoSettings(EngineSettings):
    """What a lab may choose; each field is also the environment variable ``MESO_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, allow_inf_nan=False)

    root: Annotated[Path | str | tuple[Path | str, ...], NoDecode] = Field(
        Path("~/meso/Subjects"),
        description="Folder of the sessions, `[lab/Subjects/]subject/date/NNN`; or `s3://bucket/prefix`, "
        "`sftp://[user@]host[:port]/path`. Several, as a list in the file or with `;` between them, are looked at "
        "together.",
    )
    home: Path = Field(Path("~/meso/home"), description="Folder of the platform itself: run history, logs, scratch.")
    scratch: Path | None = Field(
        None, description="Folder for what is fetched from a root on a server (default: `scratch` in `MESO_HOME`)."
    )
    scratch_gb: float = Field(SCRATCH_GB, gt=0, description="How much of it may be filled, GB.")
    cores: int = Field(
        default_factory=cores_at_hand, ge=1, description="Cores to use (default: those that this process may use)."
    )
    memory_gb: float = Field(
        default_factory=_memory_gb, gt=0, description="Memory to use, GB (default: that of the machine or container)."
    )
    fov_memory_gb: float = Field(4.0, gt=0, description="Memory that one FOV's suite2p process may need, GB.")
    suite2p: dict[str, Any] = Field(
        default_factory=dict,
        description="suite2p options that differ from meso's defaults, by name; JSON in a variable.",
    )
    genotype: str = Field(
        "", description="Alleles of the subjects below the root, `;` between them; suite2p's tau follows from them."
    )
    left_out_fovs: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Fields of view that are left out, by session, as in "
        '`{"SP035/2023-03-03/001": ["FOV_02"]}`; in the file a table `[left_out_fovs]`.',
    )
    window_center_ml: float | None = Field(
        None, description="Medio-lateral window centre, mm from bregma; only for sessions without rig metadata."
    )
    window_center_ap: float | None = Field(
        None, description="Antero-posterior window centre, mm from bregma; only for sessions without rig metadata."
    )
    channels: Literal["colours", "depths"] = Field(
        "colours",
        description="What saved channels are: colours of each field of view, or depths (light beads), each with fields "
        "of view of its own.",
    )
    atlas: Literal["mri_toronto", "allen", "phantom", "file"] = Field(
        "mri_toronto", description="Brain atlas; `phantom` is a made-up brain that needs no download."
    )
    atlas_resolution_um: Annotated[Literal[10, 25, 50], BeforeValidator(int)] = Field(
        10, description="Voxel size of the atlas, µm."
    )
    atlas_path: Path | None = Field(None, description="Annotation volume, with `atlas = file`.")
    mesh_path: Path | None = Field(
        None, description="Surface mesh (`.npz`), to reproduce old results; else it is made from the atlas."
    )
    normal_rule: Literal["region", "facet"] = Field(
        "region", description="Tilt of the coverslip: from the surface around the window, or one mesh facet as ibllib."
    )
    frame: Literal["ccf", "mri_toronto"] = Field(
        "ccf", description="Coordinates: plain CCF µm as published by the IBL, or scaled to the MRI atlas."
    )
    cache: Path = Field(Path("~/.cache/meso"), description="Folder for atlas volumes and surface meshes.")
    frame_channel: str = Field(
        "", description="DAQ input of the microscope's frame clock, if not `neural_frames` or `frames`."
    )
    archive_format: Literal["tar.bz2", "zarr"] = Field("tar.bz2", description="Format of the archive of raw tifs.")
    removed_kept_days: float = Field(
        7.0,
        ge=0,
        le=36_500,
        description="Days for which removed tifs are kept in `.meso/removed`; until then `meso restore` is a rename.",
    )
    keep_versions: int = Field(
        0,
        ge=0,
        description="Earlier versions of each result that are kept in `.meso/versions` when it is replaced "
        "(`meso versions`); archives are not, for any holds the same tifs.",
    )
    damaged_frames: Literal["salvage", "refuse"] = Field(
        "salvage",
        description="Where frames of a bout are missing or not whole: process the others, with a warning and a check "
        "that does not pass, or refuse the bout.",
    )
    qc_limits: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="Limits of verdicts that differ from the usual ones (docs/qc.md), by check, as in "
        '`{"light_lost": {"warning": 0.2, "fail": 0.5}}`; in the file a table `[qc_limits]`.',
    )
    alyx: Literal["off", "dry-run", "online"] = Field(
        "off",
        description="Alyx: `off` writes what would be sent, `dry-run` asks the server and shows what would change, "
        "`online` sends it. The user comes from `ALYX_USER` and `ALYX_PASSWORD` or `ALYX_TOKEN`.",
    )
    alyx_url: str = Field("", description="Address of the Alyx server, as in `https://alyx.example.org`.")
    alyx_repository: str = Field("", description="Data repository of Alyx on which the files of the sessions lie.")
    quiet_minutes: float = Field(
        15.0,
        ge=0,
        description="A session without `raw_session.flag`, or changed after it, is ready after this time without "
        "change.",
    )
    watch: bool = Field(
        False,
        description="Whether new sessions are found and run from the start (sensor `sessions_arrive`); else somebody "
        "switches that on in the interface.",
    )
    scan_every_s: int = Field(60, ge=30, description="Seconds between two looks at the root for new sessions.")
    scan_max_runs: int = Field(5, ge=1, description="Most sessions that one look starts.")
    ui_hosts: str = Field(
        "", description="Names by which others reach the interface through a proxy with a login, `,` between them."
    )
    logs_kept_days: float = Field(
        90.0,
        ge=1,
        le=36_500,
        description="Days for which logs of runs that have ended are kept whole; then `meso prune`, and a schedule "
        "every week, thin them. The history of the assets stays.",
    )
    notices_file: Path | None = Field(
        None,
        description="File of addresses for notices of failures and the daily digest, one a line, for its owner alone; "
        "or they are in `MESO_NOTICES` (docs/notices.md).",
    )
    rerun_stale: bool = Field(
        False,
        description="Whether the sensor also runs again what older code, other settings or other packages made; else "
        "that waits until somebody asks.",
    )

    @field_validator("home", "scratch", "atlas_path", "mesh_path", "cache", "notices_file", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise ValueError("empty, which would mean the working directory: give a path, or leave the setting out")
        return value

    @field_validator("root", mode="before")
    @classmethod
    def _one_root_or_several(cls, value: object) -> object:
        return parse_root(value)

    @field_validator("alyx_url")
    @classmethod
    def _without_a_password(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(
                "a user or a password stands in the address, which records and logs hold: "
                "leave it out, and set ALYX_USER and ALYX_PASSWORD"
            )
        return value

    @field_validator("suite2p")
    @classmethod
    def _known_to_suite2p(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value:  # only then, for what it imports
            from meso_core.imaging.options.overrides import Suite2pOverrides

            Suite2pOverrides.parse(value)
        return value

    @field_validator("qc_limits")
    @classmethod
    def _checks_and_limits(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        parse_limits(value)
        return value

    @field_validator("left_out_fovs")
    @classmethod
    def _sessions_and_fovs(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return parse_left_out(value)

    @field_validator("home", "scratch", "atlas_path", "mesh_path", "cache", "notices_file")
    @classmethod
    def _absolute(cls, value: Path | str | None) -> Path | str | None:
        return value.expanduser().absolute() if isinstance(value, Path) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, file."""
        file = settings_file()
        sources = (init_settings, env_settings)
        return sources if file is None else (*sources, TomlConfigSettingsSource(settings_cls, toml_file=file))

    @property
    def local_root(self) -> Path:
        """Root of sessions as a folder of this machine.

        Raises
        ------
        SettingsError
            If it is on a server, or there are several.
        """
        if isinstance(self.root, Path):
            return self.root
        remedy, found = "Name a folder (`--root`), or set MESO_ROOT to one", told_roots(self.root)
        raise SettingsError.at("MESO_ROOT", expected="a folder of this machine", found=found, remedy=remedy)

    @property
    def roots(self) -> tuple[Path | str, ...]:
        """Roots of sessions: folders of this machine and URLs."""
        return self.root if isinstance(self.root, tuple) else (self.root,)

    @property
    def scratch_folder(self) -> Path:
        """Folder for what is fetched from a root on a server."""
        return self.scratch or self.home / "scratch"

    def store(self) -> SessionRoots:
        """Open the roots of sessions.

        Raises
        ------
        SettingsError
            As :func:`~meso_core.storage.open_store`, where there is one root; of several, each is opened when it is
            needed.
        """
        from meso_core.storage import open_roots

        return open_roots(self.roots, scratch=self.scratch_folder, scratch_gb=self.scratch_gb)

    @property
    def ui_host_names(self) -> tuple[str, ...]:
        """Names by which the interface may be called, besides those of this machine."""
        return tuple(name.strip() for name in self.ui_hosts.split(",") if name.strip())

    @property
    def overrides(self) -> Suite2pOverrides:
        """suite2p options that differ from meso's defaults, by full name."""
        from meso_core.imaging.options.overrides import Suite2pOverrides

        return Suite2pOverrides.parse(self.suite2p)

    @property
    def limits(self) -> Limits:
        """Limits of verdicts that differ from the usual ones."""
        return parse_limits(self.qc_limits)

    @property
    def parallel_fovs(self) -> int:
        """FOVs that run side by side: one core each, within the memory."""
        return side_by_side(self.fov_memory_gb, cores=self.cores, memory=self.memory_gb)

    @property
    def places(self) -> int:
        """FOVs that are worked on at once, over all runs: the size of their pool."""
        many = {"slurm": self.slurm_jobs, "celery": self.celery_steps, "k8s": self.k8s_steps}
        return many.get(self.executor, self.parallel_fovs)

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's records: ``DAGSTER_HOME`` where it is set, else inside :attr:`home`."""
        chosen = os.environ.get("DAGSTER_HOME")
        return Path(chosen).absolute() if chosen else self.home / "dagster_home"

    def left_out_of(self, key: SessionKey) -> tuple[str, ...]:
        """Names of the fields of view of a session that are left out.

        Raises
        ------
        SettingsError
            If the session is named without its lab, and two labs hold the subject.
        """
        if key.lab is None or key.name not in self.left_out_fovs:
            return self.left_out_fovs.get(str(key), ())
        from meso_core.storage import meant_session

        is_meant = meant_session(self.store(), key.name) == key
        return self.left_out_fovs.get(str(key), self.left_out_fovs[key.name] if is_meant else ())

    def of_session(self, key: SessionKey) -> MesoSettings:
        """Return the settings without what concerns other sessions."""
        own = self.left_out_of(key)
        chosen = {str(key): own} if own else {}
        return self if chosen == self.left_out_fovs else self.model_copy(update={LEFT_OUT_FOVS: chosen})

    def location(self) -> LocationSettings:
        """Return the choices of the location stage, as ``meso_core`` takes them."""
        from meso_core.location import Frame, LocationSettings, NormalRule

        return LocationSettings(
            atlas=self.atlas,
            resolution_um=self.atlas_resolution_um,
            atlas_path=self.atlas_path,
            mesh_path=self.mesh_path,
            normal_rule=NormalRule(self.normal_rule),
            frame=Frame(self.frame),
            cache_folder=self.cache,
        )

    def as_environment(self) -> dict[str, str]:
        """Return the settings as environment variables, for child processes."""
        variables = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                told = told_roots(value) if name == "root" else str(value)
                variables[variable_of(name)] = json_text(value) if isinstance(value, dict) else told
        return variables


def load_settings(overrides: Mapping[str, Any] | None = None) -> MesoSettings:
    """Read the settings.

    Parameters
    ----------
    overrides
        Field name → value; they win over environment and file.

    Raises
    ------
    SettingsError
        With every value that is not allowed. A variable ``MESO_…`` that is no setting is a MesoWarning, since somebody
        else may have set it.
    """
    warn_of_unknown_variables({*MesoSettings.model_fields, "settings"})
    file = settings_file()
    cause: Exception | None = None
    wrong = "MESO_<NAME>"
    try:
        settings = MesoSettings(**(overrides or {}))
        in_memory = [str(root) for root in settings.roots if str(root).startswith("memory:")]
        if not in_memory or "root" in (overrides or {}):
            return settings
        found = f"root: {', '.join(in_memory)}, which would be empty in each process"
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {shown_value(e['input'])})" for e in error.errors()
        )
        named = {str(e["loc"][0]) for e in error.errors() if e["loc"]}
        wrong = ", ".join(map(variable_of, sorted(named & MesoSettings.model_fields.keys()))) or wrong
        # the library's own words repeat what was given, with a secret that may be in it
        cause = None if "…@" in found else error
    except (OSError, ValueError) as error:  # a file that is no TOML or cannot be read, a variable that is no JSON
        found, cause = " ".join(filter(None, [str(error), str(error.__cause__ or "")])), error
    raise SettingsError.at(
        f"environment and {file}" if file else "environment",
        expected="settings that README's table lists (TOML in a file, JSON where a variable holds a table)",
        found=found,
        remedy=f"Correct the variable {wrong} or the line of the file",
    ) from cause


@lru_cache(maxsize=1)
def current_settings() -> MesoSettings:
    """Return the settings of this process, read once."""
    return load_settings()
