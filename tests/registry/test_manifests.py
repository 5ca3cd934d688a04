"""Manifests from files and folders: schemas put in, types shared, mistakes with their line."""

import json
from pathlib import Path

import pytest
from declaring import record

from evento.registry.documents import Documents
from evento.registry.limits import MANIFEST_BYTES_MAX, SCHEMA_FILE_BYTES_MAX
from evento.registry.manifests import read_manifests

EVENT = """apiVersion: evento.dev/v1
kind: Event
metadata: {name: Paid, namespace: shop}
spec:
  entity: Order
  schema: %s
"""
MONEY = {"type": "record", "name": "shop.Money", "fields": [{"name": "cents", "type": "long"}]}


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def schemas(documents: Documents) -> list[object]:
    return [document.content["spec"]["schema"] for document in documents.documents]  # type: ignore[index]


def messages(documents: Documents) -> list[str]:
    return [problem.message for problem in documents.problems]


def test_files_and_the_yaml_files_of_folders_are_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", EVENT % "{}")
    write(tmp_path / "a.yml", (EVENT % "{}").replace("Paid", "Ordered") + "---\n" + (EVENT % "{}").replace("Paid", "Sent"))
    write(tmp_path / "readme.md", "# not yaml")
    write(tmp_path / "below" / "c.yaml", "not: read")
    read = read_manifests([tmp_path, tmp_path / "b.yaml"])
    assert not read.problems
    assert [document.content["metadata"]["name"] for document in read.documents] == ["Ordered", "Sent", "Paid"]  # type: ignore[index]
    assert [(document.origin.document, document.origin.line(("kind",))) for document in read.documents] == [(1, 2), (2, 9), (1, 2)]


def test_each_file_that_cannot_be_read_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / "good.yaml", EVENT % "{}")
    write(tmp_path / "broken.yaml", "a: 1\na: 2")
    write(tmp_path / "list.yaml", "- a\n- b")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff")
    write(tmp_path / "huge.yaml", "#" * (MANIFEST_BYTES_MAX + 1))
    read = read_manifests([tmp_path, tmp_path / "missing.yaml"])
    assert len(read.documents) == 1
    assert {(Path(problem.file).name, problem.line, problem.message.partition(":")[0]) for problem in read.problems} == {
        ("missing.yaml", 0, "there is no such file or folder"),
        ("broken.yaml", 2, "the key 'a' stands here twice"),
        ("list.yaml", 1, "a document must be a mapping with apiVersion, kind, metadata and spec"),
        ("latin.yaml", 0, "is not UTF-8 text"),
        ("huge.yaml", 0, f"is larger than {MANIFEST_BYTES_MAX} bytes"),
    }


def test_a_folder_without_manifests_is_a_problem(tmp_path: Path) -> None:
    assert messages(read_manifests([tmp_path])) == ["there is no .yaml or .yml file in this folder"]


def test_a_schema_file_is_put_in_and_the_document_stands_alone(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "paid.avsc", record("shop.Paid", amount="long"))
    file = write(tmp_path / "shop.yaml", EVENT % "{file: schemas/paid.avsc}")
    read = read_manifests([file])
    assert not read.problems
    assert schemas(read) == [
        {"type": "record", "name": "Paid", "namespace": "shop", "fields": [{"name": "amount", "type": "long"}]}
    ]


def test_a_type_in_a_file_beside_the_named_one_is_shared_by_full_name(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "money.avsc", {**MONEY, "fields": [{"name": "currency", "type": "shop.Currency"}]})
    write(
        tmp_path / "schemas" / "currency.avsc", {"type": "enum", "name": "Currency", "namespace": "shop", "symbols": ["NO", "CZK"]}
    )
    write(tmp_path / "schemas" / "paid.avsc", record("shop.Paid", gross="Money", net="shop.Money"))
    read = read_manifests([write(tmp_path / "shop.yaml", EVENT % "{file: schemas/paid.avsc}")])
    assert not read.problems
    (schema,) = schemas(read)
    gross, net = schema["fields"]  # type: ignore[index]
    assert gross["type"]["name"] == "Money"
    assert gross["type"]["fields"][0]["type"]["symbols"] == ["NO", "CZK"]
    assert net["type"] == "Money"


def test_inline_schemas_and_json_text_share_the_types_of_the_files_too(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "money.avsc", MONEY)
    text = json.dumps(record("shop.Sent", fee="shop.Money"))
    manifest = "---\n".join(
        [EVENT % "{file: schemas/money.avsc}", EVENT % text, EVENT % f"'{text}'"],
    )
    read = read_manifests([write(tmp_path / "shop.yaml", manifest)])
    assert not read.problems
    assert schemas(read)[1] == schemas(read)[2]
    assert schemas(read)[1]["fields"][0]["type"]["name"] == "Money"  # type: ignore[index]


def test_a_schema_may_hold_its_own_definition_of_a_type_that_stands_in_a_file(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "money.avsc", MONEY)
    write(tmp_path / "schemas" / "paid.avsc", record("shop.Paid", amount={**MONEY, "fields": []}))
    read = read_manifests([write(tmp_path / "shop.yaml", EVENT % "{file: schemas/paid.avsc}")])
    assert not read.problems


def test_a_name_that_two_files_define_differently_is_refused_with_both(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "money.avsc", MONEY)
    write(tmp_path / "schemas" / "old_money.avsc", {**MONEY, "fields": []})
    write(tmp_path / "schemas" / "paid.avsc", record("shop.Paid", amount="shop.Money"))
    (problem,) = read_manifests([write(tmp_path / "shop.yaml", EVENT % "{file: schemas/paid.avsc}")]).problems
    assert problem.path == "spec.schema.fields[0].type"
    assert "there is no shop.Money" in problem.message
    assert "money.avsc and old_money.avsc define shop.Money differently" in problem.message


def test_types_that_need_each_other_are_refused_and_end(tmp_path: Path) -> None:
    write(tmp_path / "schemas" / "a.avsc", record("shop.A", b="shop.B"))
    write(tmp_path / "schemas" / "b.avsc", record("shop.B", a="shop.A"))
    (problem,) = read_manifests([write(tmp_path / "shop.yaml", EVENT % "{file: schemas/a.avsc}")]).problems
    assert problem.resource == "Event shop/Paid"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../outside.avsc", "a schema file must stand below the manifest's folder, also behind symbolic links"),
        ("schemas/../../outside.avsc", "a schema file must stand below the manifest's folder, also behind symbolic links"),
        ("link.avsc", "a schema file must stand below the manifest's folder, also behind symbolic links"),
        ("folder/outside.avsc", "a schema file must stand below the manifest's folder, also behind symbolic links"),
        ("/etc/passwd.avsc", "a schema file must be named relative to the manifest's folder"),
        ("paid.json", "a schema file must end in .avsc"),
        ("missing.avsc", "there is no such file"),
        ("schemas.avsc", "there is no such file"),
        ("loop.avsc", "there is no such file"),
        ("huge.avsc", f"is larger than {SCHEMA_FILE_BYTES_MAX} bytes"),
        ('""', "the name of a schema file must not be empty or hold a NUL"),
        ("[a]", "the name of a schema file must not be empty or hold a NUL"),
    ],
)
def test_a_schema_file_that_may_not_be_read_is_refused_where_it_is_named(tmp_path: Path, name: str, rule: str) -> None:
    root = tmp_path / "deployment"
    write(tmp_path / "outside.avsc", record("shop.Paid"))
    write(root / "huge.avsc", " " * (SCHEMA_FILE_BYTES_MAX + 1))
    (root / "schemas.avsc").mkdir()
    (root / "link.avsc").symlink_to(tmp_path / "outside.avsc")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.avsc").symlink_to(root / "loop.avsc")
    read = read_manifests([write(root / "shop.yaml", EVENT % f"{{file: {name}}}")])
    (problem,) = read.problems
    assert problem.message.startswith(rule)
    assert (problem.resource, problem.path, problem.line) == ("Event shop/Paid", "spec.schema.file", 6)
    assert read.documents[0].schema_refused


def test_a_link_beside_a_schema_file_that_leads_out_shares_nothing(tmp_path: Path) -> None:
    write(tmp_path / "money.avsc", MONEY)
    write(tmp_path / "deployment" / "schemas" / "paid.avsc", record("shop.Paid", amount="shop.Money"))
    (tmp_path / "deployment" / "schemas" / "money.avsc").symlink_to(tmp_path / "money.avsc")
    (problem,) = read_manifests([write(tmp_path / "deployment" / "shop.yaml", EVENT % "{file: schemas/paid.avsc}")]).problems
    assert "there is no shop.Money" in problem.message


def test_a_broken_schema_file_is_refused_with_the_place_in_it(tmp_path: Path) -> None:
    write(tmp_path / "paid.avsc", record("shop.Paid", amount="lang"))
    (problem,) = read_manifests([write(tmp_path / "shop.yaml", EVENT % "{file: paid.avsc}")]).problems
    assert (problem.path, problem.value) == ("spec.schema.fields[0].type", "'paid.avsc'")


def test_the_directory_of_a_command_is_the_manifests_folder_or_below_it(tmp_path: Path) -> None:
    text = "kind: Function\nspec: {command: [./run]%s}\n"
    file = write(tmp_path / "f.yaml", "---\n".join([text % "", text % ", directory: src"]))
    directories = [document.content["spec"]["directory"] for document in read_manifests([file]).documents]  # type: ignore[index]
    assert directories == [str(tmp_path), str(tmp_path / "src")]
