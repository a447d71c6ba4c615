"""How the site is built: these pages, the texts of the repository's root, and the reference from the docstrings.

The package is read from this tree, not from where it may be installed.
"""

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import GenericAlias, ModuleType

import numpy.typing
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))


class NDArray:
    """Stands for numpy's alias of this name, which would be written out whole in a signature."""

    __module__ = "numpy.typing"

    def __class_getitem__(cls, dtype: object) -> GenericAlias:
        """Keep the name and the dtype."""
        return GenericAlias(cls, dtype)


numpy.typing.NDArray = NDArray
numpy.typing.ArrayLike = type("ArrayLike", (), {"__module__": "numpy.typing"})

import meso_core  # noqa: E402

project = "meso"
author = copyright = "the meso developers"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_copybutton"]
exclude_patterns = ["_build", "_static"]
html_theme = "pydata_sphinx_theme"
html_title = "meso"
html_theme_options = {"navigation_with_keys": False, "show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

myst_heading_anchors = 3
default_role = "code"
highlight_language = "text"
add_module_names = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
toc_object_entries_show_parents = "hide"

#: Small modules that all rooms share; they have no ``__all__`` and are shown whole.
SHARED = ("errors", "progress", "machine")
#: Pages that show a text of the root, with its links put right.
ROOT_TEXTS = {
    "index": "README.md",
    "architecture": "ARCHITECTURE.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
    "conduct": "CODE_OF_CONDUCT.md",
}
PAGES = {text: f"{page}.md" for page, text in ROOT_TEXTS.items()}


def rooms() -> list[str]:
    """Rooms of the core, in the order of the alphabet."""
    return sorted(module.name for module in pkgutil.iter_modules(meso_core.__path__) if module.ispkg)


def public_names(module: ModuleType) -> list[str]:
    """Names that a module offers: its ``__all__``, or else what it defines itself."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(n for n, v in vars(module).items() if n[0] != "_" and getattr(v, "__module__", "") == module.__name__)


def kind_of(value: object) -> str:
    """Word by which Sphinx knows such a value."""
    if isinstance(value, type):
        return "exception" if issubclass(value, Exception) else "class"
    return "function" if inspect.isroutine(value) else "data"


def title(text: str) -> list[str]:
    """Lines of a page's title."""
    return [text, "=" * len(text), ""]


def summary(names: list[str]) -> list[str]:
    """Lines of a table with the first sentence of each name's description."""
    return ["", ".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in names), ""]


def module_page(name: str) -> str:
    """Page of a module: what it is for, a table of its names, then each name in full."""
    module = importlib.import_module(f"meso_core.{name}")
    lines = [*title(module.__name__), f".. automodule:: {module.__name__}", "   :no-members:", ""]
    kinds = {public: kind_of(getattr(module, public)) for public in public_names(module)}
    lines += [f".. currentmodule:: {module.__name__}", *summary([n for n, kind in kinds.items() if kind != "data"])]
    for public, kind in kinds.items():
        options = {"exception": ["   :show-inheritance:"], "class": ["   :members:"]}.get(kind, [])
        lines += [f".. auto{kind}:: {public}", *options, ""]
    return "\n".join(lines)


def overview() -> str:
    """Page that lists the names of ``meso_core`` itself by their room, and all rooms."""
    lines = [*title("Reference"), "``import meso_core`` offers the names below; each room offers more.", ""]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in [*rooms(), *SHARED]), ""]
    for room in [*rooms(), *SHARED]:
        names = [name for name in meso_core.__all__ if meso_core._HOME[name] == room]
        heading = f":doc:`{room}`"
        lines += [
            heading,
            "-" * len(heading),
            "",
            *(summary([f"~meso_core.{room}.{n}" for n in names]) if names else []),
        ]
    return "\n".join(lines)


def write_reference(_: Sphinx) -> None:
    """Write the pages of the reference, those that changed."""
    (DOCS / "api").mkdir(exist_ok=True)
    for name, text in {"index": overview(), **{name: module_page(name) for name in [*rooms(), *SHARED]}}.items():
        path = DOCS / "api" / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def show_root_text(_: Sphinx, page: str, content: list[str]) -> None:
    """Put a text of the root before what the page holds; links between such texts become links between pages."""
    if page in ROOT_TEXTS:
        text = (ROOT / ROOT_TEXTS[page]).read_text()
        text = re.sub(r"\]\(docs/", "](", text)
        for target, link in PAGES.items():
            text = text.replace(f"]({target}", f"]({link}")
        content[0] = f"{text}\n\n{content[0]}"


def setup(app: Sphinx) -> None:
    """Let Sphinx call the two."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", show_root_text)
