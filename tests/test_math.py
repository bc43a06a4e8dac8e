"""What docs/MATH.md names is there: functions, tests, files, references."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "MATH.md").read_text(encoding="utf-8")
LINKS = re.findall(
    r"\[([^\[\]]*)\]\(([^()#]+)\)", PAGE
)  # text and target, without links into the page itself
CODE = sorted({(text.strip("`"), to) for text, to in LINKS if text.startswith("`") and to.endswith(".py")})
FUNCTIONS = [(name, to) for name, to in CODE if "/src/tubelet/" in to]
TESTS = [(name, to) for name, to in CODE if "/tests/" in to]


@cache
def defined(file: Path) -> set[str]:
    """The functions, classes and methods of a module, as `name` or `Class.name`."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return names


def anchor(heading: str) -> str:
    """How GitHub names a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("name", "to"), FUNCTIONS)
def test_a_named_function_is_in_the_module_it_links_to(name, to):
    file = (ROOT / "docs" / to).resolve()
    module = ".".join(file.relative_to(ROOT / "src" / "tubelet").with_suffix("").parts)
    assert name.startswith(module + "."), f"{name} is not of {module}"
    assert name.removeprefix(module + ".") in defined(file)


@pytest.mark.parametrize(("name", "to"), TESTS)
def test_a_named_test_is_in_the_file_it_links_to(name, to):
    assert name.startswith("test_") and name in defined((ROOT / "docs" / to).resolve())


def test_the_page_names_many_and_links_all_of_them():
    assert len(FUNCTIONS) > 40 and len(TESTS) > 40
    linked = {name for name, _ in CODE}
    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= linked
    assert set(re.findall(r"`((?:diffusion|model|gaussians|evaluation)\.[\w.]+)`", PAGE)) <= linked


def test_every_link_leads_somewhere():
    missing = [to for _, to in LINKS if not (ROOT / "docs" / to).exists()]
    assert not missing
    headings = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", PAGE, flags=re.M)}
    assert set(re.findall(r"\]\(#([^()]+)\)", PAGE)) <= headings


def test_every_tag_is_a_reference():
    references = (ROOT / "docs" / "REFERENCES.md").read_text(encoding="utf-8")
    tags = set(re.findall(r"\[([A-Z][\w+-]*)(?: [\w. ]+)?\](?![(\w])", PAGE))
    assert len(tags) > 10
    assert not [tag for tag in tags if f"- **{tag}** " not in references]


def test_formulas_are_closed_and_use_what_github_renders():
    for line in PAGE.splitlines():
        assert line.count("$") % 2 == 0, line
        # GitHub refuses \operatorname, and Markdown takes the backslash off \, \; \{ and \|.
        assert not re.search(r"\\operatorname|\\[,;{}|]", line), line
