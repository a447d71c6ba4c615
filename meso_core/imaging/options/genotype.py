"""The decay time of a subject's indicator, from its genotype.

What belongs here: reading the names of alleles in the forms that a lab holds them in, and what they tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ...errors import SettingsError, brief

#: Names of alleles, records of Alyx, or one text with separators.
Genotype: TypeAlias = "Iterable[str | Mapping[str, Any]] | str"

#: GCaMP variant → decay time of its fluorescence in s, as suite2p's documentation of ``tau`` recommends.
TAU_S: Mapping[str, float] = {"G6s": 1.5, "G6m": 1.0, "G6f": 0.7}
DEFAULT_TAU_S = 1.5
#: Zygosity of an allele that was tested and is absent, as Alyx holds it.
_ABSENT = 0


def get_default_tau(genotype: Genotype) -> float:
    """Decay time of the indicator that a subject's genotype tells.

    Parameters
    ----------
    genotype
        Names of the subject's alleles, as in ``"Ai94(TITL-G6s)-ICL-G6s"``; the first that ends in a GCaMP6 variant
        (``-G6s``, ``-G6m``, ``-G6f``) counts. Records of Alyx' ``genotype`` with the name under ``allele`` will do,
        where one of ``zygosity`` 0 is an allele that the subject does not have; and so will one text with ``;``, commas
        or spaces between the names.

    Returns
    -------
    float
        1.5, 1.0 or 0.7 s; 1.5 s where no allele tells.

    Raises
    ------
    SettingsError
        If the genotype is something else.

    Examples
    --------
    >>> get_default_tau(["Camk2a-tTA", "tetO-G6f"])
    0.7
    """
    matches = (re.search(r".-(G6[smf])$", allele) for allele in _allele_names(genotype))
    variant = next((m[1] for m in matches if m), None)
    return TAU_S.get(variant, DEFAULT_TAU_S) if variant else DEFAULT_TAU_S


def _allele_names(genotype: object) -> list[str]:
    if isinstance(genotype, str):
        return re.split(r"[;,\s]+", genotype)
    entries = list(genotype) if isinstance(genotype, Iterable) and not isinstance(genotype, Mapping) else [genotype]
    names = [entry.get("allele") if isinstance(entry, Mapping) else entry for entry in entries]
    wrong = next((entry for entry, name in zip(entries, names, strict=True) if not isinstance(name, str)), None)
    if wrong is not None or None in names:
        remedy = "Give a list of names, a text with ';' between them, or the subject's 'genotype' as Alyx holds it"
        raise SettingsError.at("genotype", expected="names of alleles", found=brief(wrong), remedy=remedy)
    absent = (isinstance(entry, Mapping) and entry.get("zygosity") == _ABSENT for entry in entries)
    return [str(name) for name, is_absent in zip(names, absent, strict=True) if not is_absent]
