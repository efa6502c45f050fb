"""Build what is not in the pages' own text: pictures and tables that their code makes, and the pages of the API."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.site.pages import MADE, made_by, run_page, visit  # noqa: E402

OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changes.md", "benchmarks/README.md": "speed.md"}
"""Files outside the folder of the pages that have a page of the site."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")

_made: dict[str, Path] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Run the pages that show what they make, and write a page of the API for every subject."""
    for file in list(files.documentation_pages()):
        text = Path(str(file.abs_src_path)).read_text(encoding="utf-8")
        if names := made_by(text):
            _add_made(files, config, file.src_uri, text, names)
    for name, text in _api().items():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    for source, uri in OUTSIDE.items():
        if uri != "index.md":
            files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def _add_made(files: Files, config: MkDocsConfig, page: str, text: str, names: list[str]) -> None:
    folder = Path(tempfile.mkdtemp())
    os.environ.setdefault("MPLBACKEND", "Agg")
    visit(folder)
    with _inside(folder):
        run_page(text, page)
    for name in names:
        made = folder / name
        if not made.is_file():
            raise FileNotFoundError(f"{page} shows {name}, which its code does not write.")
        uri = f"{Path(page).parent.as_posix()}/{name}"
        _made[uri] = made
        if made.suffix != ".html":
            files.append(File.generated(config, uri, abs_src_path=str(made)))


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as contextlib.chdir does from Python 3.11 on."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put tables that were made as HTML into the page, and lead links out of the folder of the pages to the site's."""

    def shown(match: re.Match[str]) -> str:
        name = match[1]
        if not name.endswith(".html"):
            return match[0]
        made = _made[f"{Path(page.file.src_uri).parent.as_posix()}/{name}"]
        return f'<div class="made">{_body(made.read_text(encoding="utf-8"))}</div>'

    return LINK.sub(lambda link: _led(link, page.file.src_uri, files), MADE.sub(shown, markdown))


def _led(link: re.Match[str], page: str, files: Files) -> str:
    """Return a link as it works on the site; one to a file that the site does not have becomes its text."""
    sources = {uri: source for source, uri in OUTSIDE.items() if uri != "index.md"}
    base = ROOT / sources.get(page, f"docs/{page}")
    target = Path(os.path.normpath(base.parent / link[2])).relative_to(ROOT).as_posix()
    uri = OUTSIDE.get(target, target.removeprefix("docs/"))
    if files.get_file_from_path(uri) is None:
        return link[1] if not target.startswith("docs/") else link[0]
    return f"[{link[1]}]({os.path.relpath(uri, Path(page).parent)}{link[3] or ''})"


def _body(text: str) -> str:
    """Return what stands in the body of an HTML file, without empty lines, which would end raw HTML in Markdown."""
    found = re.search(r"<body[^>]*>(.*)</body>", text, re.DOTALL)
    return "\n".join(line for line in (found[1] if found else text).splitlines() if line.strip())


SUBJECTS = {
    "models": ("Models", ("models.",), "Model classes and functions that make one."),
    "choice": ("Choice models", ("models.choice.", "data.choice", "loglik.draws"), "Choices, mixed logits, draws."),
    "results": ("Results", ("results.", "inference.", "report."), "What a fit returns, tables and pictures."),
    "functions": ("Functions", ("special", "data.", "params.", "loglik."), "Functions to write likelihoods with."),
    "errors": ("Errors and warnings", ("errors",), "What torchmle raises, and what it warns of."),
}


def _api() -> dict[str, str]:
    """Return the text of the pages of the API, from the list of public names."""
    from torchmle import _HOME, _MODULES

    pages = {key: [f"# {title}", "", text, ""] for key, (title, _, text) in SUBJECTS.items()}
    for module, names in sorted(_HOME.items()):
        key = _subject(module)
        pages[key] += [line for name in names for line in _entry(module, name)]
    pages["modules"] = ["# Pictures, data sets, checks", "", "What `tm.plot`, `tm.datasets` and `tm.testing` hold.", ""]
    pages["modules"] += [line for offered in sorted(_MODULES) for line in _members(offered)]
    return {key: "\n".join(lines) for key, lines in pages.items()}


def _entry(module: str, name: str) -> list[str]:
    """Return the lines that stand for one name; the methods of results lie in the classes that they extend."""
    extends = ["    options:", "      inherited_members: true"] if name == "Results" else []
    return [f"::: torchmle.{_path(module, name)}", *extends, ""]


def _members(offered: str) -> list[str]:
    """Return the lines that stand for the functions and classes of a module that torchmle offers whole."""
    import torchmle

    module = getattr(torchmle, offered)
    things = [(name, getattr(module, name)) for name in module.__all__]
    found = [f"::: {thing.__module__}.{name}" for name, thing in things if hasattr(thing, "__module__")]
    return [line for entry in found for line in (entry, "")]


def _subject(module: str) -> str:
    order = ("choice", *(key for key in SUBJECTS if key != "choice"))
    return next(k for k in order if any(module == p or module.startswith(p) for p in SUBJECTS[k][1]))


def _path(module: str, name: str) -> str:
    """Return where an object is defined, which may be below the module that offers it."""
    import torchmle

    thing = getattr(torchmle, name)
    home = getattr(thing, "__module__", "") or ""
    if home.startswith("torchmle.") and getattr(thing, "__name__", "") == name:
        return f"{home.removeprefix('torchmle.')}.{name}"
    return f"{module}.{name}"
