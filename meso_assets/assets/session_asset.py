"""What all assets of a session share: opening it, telling warnings and errors, reporting checks.

What belongs here: the frame around an asset function, so that the function itself is one call of ``meso_core``.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from meso_core.errors import MesoError, MesoWarning
from meso_core.progress import Progress, throttled
from meso_core.storage import Manifest, verify_manifest

from ..defs.catalogue import CATALOGUE
from ..defs.checks import check_results, check_specs
from ..defs.partitions import session_partitions
from ..io.managers import Product, input_versions
from ..io.resources import OpenSession, Platform

#: Key of the platform resource in the definitions.
PLATFORM = "platform"


def session_asset(
    name: str, *, io_manager: str, after: tuple[str, ...] = (), inputs: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[..., Product]], dg.AssetsDefinition]:
    """Make an asset of the catalogue from a function ``(session, context, **inputs) -> Product``.

    Parameters
    ----------
    name
        Name in the catalogue.
    io_manager
        ``alf`` or ``session_files``.
    after
        Upstream assets whose files the function finds in the session by itself.
    inputs
        Upstream assets that the IO manager loads and hands to the function by name.
    options
        Further arguments of :func:`dagster.asset`.
    """
    info = CATALOGUE[name]

    def decorate(function: Callable[..., Product]) -> dg.AssetsDefinition:
        @dg.asset(  # type: ignore[untyped-decorator]  # because of **options
            **info.options(),
            partitions_def=session_partitions,
            io_manager_key=io_manager,
            deps=list(after),
            ins={upstream: dg.AssetIn() for upstream in inputs},
            check_specs=check_specs(info),
            required_resource_keys={PLATFORM},
            **options,
        )
        def compute(context: dg.AssetExecutionContext, **loaded: Any) -> Iterator[dg.MaterializeResult[Any]]:
            with guarded(context) as tolerated:
                product = function(open_session(context), context, **loaded)
            metadata = {**product.metadata, **tolerated_metadata(tolerated)}
            yield dg.MaterializeResult(value=product, metadata=metadata, check_results=check_results(info, product.qc))

        made: dg.AssetsDefinition = compute
        return made

    return decorate


def still_holds(session: OpenSession, context: Any, settings: Mapping[str, Any]) -> Manifest | None:
    """Find what an earlier run published, if code, inputs and settings are the same and the files are there."""
    (key,) = context.assets_def.keys
    manifest = session.manifest(key.path[-1])
    if manifest is None or manifest.provenance.code_version != context.assets_def.code_versions_by_key[key]:
        return None
    upstream = tuple(sorted(dep.asset_key.to_user_string() for dep in context.assets_def.get_asset_spec(key).deps))
    made_from = (manifest.provenance.inputs, manifest.provenance.settings)
    if made_from != (input_versions(session, manifest.asset, upstream), settings):
        return None
    return None if verify_manifest(session.path, manifest, content=False) else manifest


def platform_of(context: Any) -> Platform:
    """Return the platform resource of an execution context."""
    platform: Platform = getattr(context.resources, PLATFORM)
    return platform


def open_session(context: Any) -> OpenSession:
    """Open the session that a context's partition names."""
    return platform_of(context).session(context.partition_key)


def progress_of(context: Any) -> Progress:
    """Let long work tell in the run's log how far it is."""
    return throttled(context.log.info, every_s=10.0)


def tolerated_metadata(tolerated: list[str]) -> Mapping[str, Any]:
    """Metadata entry for what was tolerated; empty where nothing was."""
    return {"tolerated": dg.MetadataValue.md("\n".join(f"- {text}" for text in tolerated))} if tolerated else {}


@contextmanager
def guarded(context: Any) -> Iterator[list[str]]:
    """Log what ``meso_core`` tolerates, and turn its errors into failures that name them.

    Any other exception is a fault of the code, not of the session: the log says of which session and asset, and it goes
    on as it is, with its traceback.

    Yields
    ------
    list of str
        Messages of the warnings, filled when the block ends.
    """
    tolerated: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MesoWarning)
            yield tolerated
    except MesoError as error:
        name = type(error).__name__
        raise dg.Failure(f"{name}: {error}", metadata={"error": name}, allow_retries=False) from error
    except Exception as error:
        steps = getattr(context, "op_execution_context", context)  # an asset's context holds that of its step
        where, kind = f"{context.partition_key}, {steps.op_handle}", type(error).__name__
        context.log.exception(
            f"{where}: unexpected {kind}. This is a fault of meso rather than of the session's files: report it with "
            "its traceback; other sessions and assets go on"
        )
        raise
    for warning in caught:
        if issubclass(warning.category, MesoWarning):
            context.log.warning(str(warning.message))
            tolerated.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
