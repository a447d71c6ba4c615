"""How a brain location was found, and how that shows in the name of a dataset.

What belongs here: the four provenances, their suffixes and Alyx codes, and the rule that ranks them.
What does not: how a location is computed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePath


class Provenance(Enum):
    """How MLAPDV was found, from the least to the most trusted.

    The values are those of ``ibllib.pipes.mesoscope_tasks.Provenance``.
    """

    #: Window centre as noted at surgery, projected onto the atlas.
    ESTIMATE = 1
    #: Fitted to functionally found points (retinotopic borders, a whisker barrel).
    FUNCTIONAL = 2
    #: Fitted to anatomical points seen in the reference image (vessels, sutures, the midline).
    LANDMARK = 3
    #: From a reference image registered to cleared or sliced tissue of the same brain.
    HISTOLOGY = 4

    @property
    def suffix(self) -> str | None:
        """Suffix of ALF attributes (``mlapdv_estimate``); None for HISTOLOGY, which is final."""
        return None if self is Provenance.HISTOLOGY else self.name.lower()

    @property
    def alyx_code(self) -> str:
        """Code of Alyx' ``FOVLocation.provenance``: E, F, L or H."""
        return self.name[0]

    def attribute(self, name: str) -> str:
        """ALF attribute with this provenance's suffix.

        Examples
        --------
        >>> Provenance.ESTIMATE.attribute("mlapdv"), Provenance.HISTOLOGY.attribute("mlapdv")
        ('mlapdv_estimate', 'mlapdv')
        """
        return name if self.suffix is None else f"{name}_{self.suffix}"


def get_provenance(filename: str | os.PathLike[str]) -> Provenance:
    """Tell the provenance from the name of an ``mpciMeanImage`` or ``mpciROIs`` dataset.

    Parameters
    ----------
    filename
        Name or path, as in ``mpciMeanImage.mlapdv_estimate.npy``.

    Returns
    -------
    Provenance
        HISTOLOGY if the attribute has no provenance suffix.
    """
    parts = PurePath(filename).name.split(".")
    attribute = parts[1] if len(parts) > 1 else parts[0]
    words = attribute.split("_")[1:]
    named = {p.suffix: p for p in Provenance if p.suffix is not None}
    return next((named[word] for word in words if word in named), Provenance.HISTOLOGY)


def best_provenance(available: Iterable[Provenance]) -> Provenance | None:
    """Choose the most trusted: HISTOLOGY > LANDMARK > FUNCTIONAL > ESTIMATE; None if there is none."""
    return max(available, key=lambda p: p.value, default=None)
