"""What the README, the tutorial and the how-to pages show is done as written, against a real platform."""

from pathlib import Path

import pytest

from tests.docs.walkthrough import ROOT, blocks, commands, matches, read_along

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))


def test_the_readme_works_as_shown(tmp_path: Path) -> None:
    read_along(tmp_path, ROOT / "README.md")


def test_the_tutorial_works_as_shown(tmp_path: Path) -> None:
    pages = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
    assert len(pages) == 4
    read_along(tmp_path, *pages)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_works_as_shown(page: Path, tmp_path: Path) -> None:
    read_along(tmp_path, page)


def test_the_reader_sees_when_something_else_comes_than_is_shown() -> None:
    assert matches(["succeeded, version 1", "  1 Lent {…}"], 'succeeded, version 1\n  1 Lent {"to":"Ada"}\n')
    assert matches(["…", "5 passed in …"], ".....\n\n5 passed in 0.12s\n")
    assert not matches(["succeeded, version 1"], "succeeded, version 2\n")
    assert not matches(["succeeded, version 1"], "succeeded, version 1\nand more\n")
    assert not matches(["…", "5 passed in …"], "4 passed in 0.12s\n")


def test_the_reader_fails_where_a_command_does_not_do_what_the_page_says(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        read_along(tmp_path, page)


def test_the_reader_understands_comments_and_long_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- file: a.txt -->\n```json\n{}\n```\n\n```console\n$ cat \\\n    a.txt\n{}\n```\n\n<!-- stop -->\n")
    found = list(blocks(page))
    assert [block.mark for block in found] == ["file: a.txt", "", "stop"]
    assert list(commands(found[1].text)) == [("cat a.txt", ["{}"])]
    read_along(tmp_path, page)


def test_the_reader_runs_what_stands_right_behind_a_comment_of_its_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- stop -->\n\n```console\n$ echo one\none\n```\n")
    assert [(block.mark, block.kind) for block in blocks(page)] == [("stop", ""), ("", "console")]
