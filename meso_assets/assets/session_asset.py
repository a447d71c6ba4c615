"""What all assets of a session share: what they find when they start, and what they leave.

What belongs here: the frame around an asset function, so that the function itself is one call of ``meso_core``. It asks
whether an earlier result is current, tells warnings and errors, seals the files and reports checks.
"""

import inspect
import json
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import dagster as dg

from meso_core.archive import raw_place, settle_if_needed
from meso_core.archive.delivered import files_to_read
from meso_core.json_text import json_text
from meso_core.progress import Progress, throttled
from meso_core.qc import QCResult, as_read, qc_path, read_results, results_to_json
from meso_core.session import SessionMetadata, check_left_out
from meso_core.storage import (
    LocalStore,
    MadeBy,
    MissingFov,
    PackedFile,
    Session,
    Staging,
    Standing,
    code_version,
    file_system_of,
    package_versions,
)

from ..defs.checks import check_results, check_specs
from ..defs.dagster_internals import of_session, versioned_output
from ..defs.declare import Declaration
from ..defs.guard import Context, guarded
from ..defs.partitions import session_partitions
from ..defs.standing.raw_seen import observe
from ..defs.standing.standings import SessionView, look_at
from ..io.managers import PUBLICATION, Publication
from ..io.resources import Platform
from ..io.tolerated import tolerated_metadata
from ..overview.links import report_link
from ..runs.settings.settings import MesoSettings

#: Folder of pictures, below the session.
FIGURES = "reports/figures"
#: Shown in the UI as the people to ask; a lab puts its own team here.
OWNERS = ["team:mesoscope"]

#: What an asset function returns; Dagster knows it by the bare class.
if TYPE_CHECKING:
    Result: TypeAlias = dg.MaterializeResult[Publication]
else:
    Result = dg.MaterializeResult

T = TypeVar("T")

#: What is quick goes first of what could begin, so that what is wrong with a session shows early.
_FIRST = {"dagster/priority": "1"}

AssetFunction: TypeAlias = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Product:
    """What an asset has made, before it is sealed.

    Attributes
    ----------
    staging
        The folder with its files.
    qc
        Verdicts on the content; published with it as ``reports/qc/<asset>.json``.
    figures
        Pictures (PNG) by name; published as ``reports/figures/<name>.png``.
    contents
        What lies inside those of the files that are archives, by path below the session.
    metadata
        What a person reads about it in the UI.
    then
        Called once the files are published.
    failed
        Field of view that failed alone → why; the files are those of the others.
    """

    staging: Staging
    qc: tuple[QCResult, ...] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)
    contents: Mapping[str, tuple[PackedFile, ...]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[], None] | None = None
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """The earlier result stays; ``metadata`` are added to those that were told of it."""

    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AssetRun:
    """One run of an asset for a session: what it finds when it starts."""

    context: Context
    declaration: Declaration
    #: Those that hold for this session.
    settings: MesoSettings
    session: Session
    standing: Standing
    #: The look at the session from which the standing follows.
    seen: SessionView
    #: Options of this run alone, as JSON values.
    options: Mapping[str, Any]

    @property
    def is_current(self) -> bool:
        """Whether nothing is to be done: an earlier result is current, and this run asks for nothing else."""
        made = self.standing.manifest
        return self.standing.is_current and made is not None and dict(made.made_by.options) == dict(self.options)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Fields of view that the settings leave out of the session."""
        return self.settings.left_out_of(self.session.key)

    def but_left_out(self, fovs: Mapping[str, T], metadata: SessionMetadata) -> dict[str, T]:
        """Leave fields of view out of what is given by their names, as the settings say.

        Raises
        ------
        SettingsError
            If the session has no such field of view, or would have none.
        """
        out = check_left_out(metadata.imaging, self.left_out, str(self.session.key))
        return {fov: one for fov, one in fovs.items() if fov not in out}

    @property
    def lacking(self) -> dict[str, MissingFov]:
        """Fields of view that failed in what the asset reads, as its records tell."""
        inputs = [self.seen.made[name] for name in self.declaration.upstream if name in self.seen.made]
        missing = {fov: why for manifest in inputs for fov, why in manifest.missing.items()}
        return {fov: why for fov, why in missing.items() if fov not in self.left_out}

    def fetch_raw(self) -> None:
        """Have the raw files here that the asset reads whole; of a local root they are here already."""
        declared = self.declaration
        kinds = [self.seen.raw[kind] for kind in declared.raw if kind not in declared.headers_of]
        if paths := {path for raw in kinds for path in files_to_read(raw, self.seen.listing)}:
            self.session.fetch(sorted(paths), self.progress)

    @property
    def progress(self) -> Progress:
        """Way for long work to tell in the run's log how far it is."""
        return throttled(self.context.log.info, every_s=10.0)

    def stage(self, *, keep: bool = False) -> Staging:
        """Make the folder in which the files are prepared."""
        return self.session.stage(self.declaration.name, keep=keep)

    def publication(self, product: Product) -> tuple[Publication, str]:
        """Seal what was made; returns it with its content version."""
        staging = product.staging
        if product.qc:
            staging.write(qc_path(self.declaration.name), results_to_json(product.qc).encode())
        for name, png in product.figures.items():
            staging.write(f"{FIGURES}/{name}.png", png)
        own = {fov: MissingFov(self.declaration.name, why) for fov, why in product.failed.items()}
        sealed = staging.seal(product.contents, _facts(product.metadata), {**self.lacking, **own})
        run, host = self.context.run.run_id, socket.gethostname()
        made_by = MadeBy(run, package_versions(), dict(self.options), host, code_version())
        declared = self.declaration
        publication = Publication(
            sealed,
            self.standing.basis,
            made_by,
            product.then,
            places=declared.places or None,
            n_kept=self.settings.keep_versions if declared.keeps_versions else 0,
            datasets=declared.datasets,
            left_out=self.left_out,
        )
        return publication, sealed.data_version

    def kept(self) -> tuple[Publication, str]:
        """Hand on the earlier result."""
        manifest = self.standing.manifest
        assert manifest is not None
        return Publication(None, manifest.basis, manifest.made_by), manifest.data_version

    def kept_metadata(self) -> dict[str, Any]:
        """Repeat what was told of the earlier result, so that it stays in sight."""
        manifest = self.standing.manifest
        assert manifest is not None
        chosen = of_session(self.declaration.name, self.context.partition_key)
        earlier = self.context.instance.fetch_materializations(chosen, limit=1).records
        told = earlier[0].asset_materialization.metadata if earlier and earlier[0].asset_materialization else {}
        return {**told, "unchanged_since": manifest.published_at}


def session_asset(declaration: Declaration) -> Callable[[AssetFunction], dg.AssetsDefinition]:
    """Turn a function into the asset of a declaration; its parameters are the declared inputs.

    Raises
    ------
    TypeError
        If the function takes other inputs than are declared: what is not used is not declared.
    """

    def decorate(function: AssetFunction) -> dg.AssetsDefinition:
        takes = set(inspect.signature(function).parameters) - {"context", "platform", "alyx"}
        if takes != (set() if declaration.reads_records else set(declaration.inputs)):
            raise TypeError(f"{declaration.name}: declared inputs {declaration.inputs}, parameters {sorted(takes)}")
        return dg.asset(
            name=declaration.name,
            group_name=declaration.group,
            description=declaration.description,
            owners=OWNERS,
            kinds=set(declaration.kinds),
            code_version=declaration.code_version,
            partitions_def=session_partitions,
            io_manager_key=declaration.io_manager,
            check_specs=check_specs(declaration),
            dagster_type=PUBLICATION,
            op_tags=_FIRST if declaration.is_quick else None,
            deps=list(declaration.inputs) if declaration.reads_records else None,
        )(function)

    return decorate


def materialized(
    context: Context,
    platform: Platform,
    declaration: Declaration,
    compute: Callable[[AssetRun], Product],
    before: Callable[[], None] | None = None,
) -> Result:
    """Run an asset: nothing is computed where an earlier result is current.

    ``before`` is called first: it may bring what the asset depends on up to date.
    """

    def decide(run: AssetRun) -> Product | Kept:
        if run.is_current:
            return Kept()
        tell_why(run)
        run.fetch_raw()
        return compute(run)

    return decided(context, platform, declaration, decide, before)


def decided(
    context: Context,
    platform: Platform,
    declaration: Declaration,
    decide: Callable[[AssetRun], Product | Kept],
    before: Callable[[], None] | None = None,
) -> Result:
    """Run an asset that decides itself whether its earlier result stays; ``before`` as for :func:`materialized`."""
    with guarded(context) as tolerated:
        if before is not None:
            before()
        run = open_run(context, platform, declaration)
        made = decide(run)
        if isinstance(made, Kept):
            publication, version = run.kept()
            qc = read_results(run.session.path, declaration.name, run.settings.limits)
            metadata = {**run.kept_metadata(), **made.metadata}
        else:
            publication, version = run.publication(made)
            qc, metadata = tuple(as_read(one, run.settings.limits) for one in made.qc), dict(made.metadata)
    metadata |= {**report_link(context.partition_key), **tolerated_metadata(tolerated)}
    return dg.MaterializeResult(
        value=replace(publication, shown=metadata),
        data_version=dg.DataVersion(version),
        check_results=check_results(declaration, qc),
    )


def gathered(
    context: dg.OpExecutionContext, opened: Callable[[], AssetRun], compute: Callable[[AssetRun], Product]
) -> dg.Output[Publication]:
    """Finish a graph-backed asset as :func:`materialized` finishes an asset."""
    with guarded(context) as tolerated:
        run = opened()
        if run.is_current:
            (publication, version), metadata = run.kept(), run.kept_metadata()
        else:
            product = compute(run)
            (publication, version), metadata = run.publication(product), dict(product.metadata)
    metadata |= {**report_link(context.partition_key), **tolerated_metadata(tolerated)}
    return versioned_output(replace(publication, shown=metadata), version)


def open_run(
    context: Context, platform: Platform, declaration: Declaration, options: Mapping[str, Any] | None = None
) -> AssetRun:
    """Look at the session: which raw files there are, and whether an earlier result is current.

    Raw files, and what people said, that Dagster has not seen as they are now are reported to it first, and the step
    starts once more: else the result would count as made from what was seen before.
    """
    session, settings = platform.session(context.partition_key, context.instance), platform.settings
    session.hold()
    with raw_place(session) as place:
        settle_if_needed(place)  # what a killed removal or restoring of raw tifs left
    seen = look_at(session)
    versions = {name: version for name, version in seen.given_versions().items() if name in declaration.inputs}
    if observe(context.instance, context.partition_key, versions, seen.given_shown()) and context.retry_number == 0:
        context.log.info("what it reads is not what was seen last; starting again with what is there")
        raise dg.RetryRequested(max_retries=1)
    plain = json.loads(json_text(dict(options or {})))
    own = seen.own_settings(settings)
    return AssetRun(context, declaration, own, session, seen.standing(declaration, settings), seen, plain)


def _facts(metadata: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Choose what sums up a result: numbers and names, no pictures and tables."""
    return {
        name: value
        for name, value in metadata.items()
        if isinstance(value, str | int | float) and (not isinstance(value, float) or math.isfinite(value))
    }


def tell_why(run: AssetRun) -> None:
    """Log why something is made, and on what kind of disk, if that has limits."""
    run.context.log.info(f"{run.declaration.name}: {'; '.join(run.standing.reasons) or 'other options for this run'}")
    if isinstance(run.session.store, LocalStore) and (limits := file_system_of(run.session.path).limits):
        run.context.log.info(f"disk of the session: {'; '.join(limits)}")
