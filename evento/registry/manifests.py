"""Manifest files and folders to documents that stand on their own: schema files put in, directories made absolute.

A schema given as `{file: …}` stands below the manifest's folder, nowhere else. It may use, by full name, the type that any other
`.avsc` file of the deployment defines, or one in the folder of an `.avsc` file that a manifest names: a shared type is declared by
putting its file there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from evento.errors import SchemaRefused
from evento.registry.declared import is_file_reference, schema_problem, title_of
from evento.registry.documents import Document, Documents, Origin, Problem, ValuePath, broken_rule
from evento.registry.limits import DOCUMENTS_MAX, MANIFEST_BYTES_MAX, MANIFEST_FILES_MAX
from evento.registry.schema_files import FileRefused, SchemaFiles, full_name, read_text
from evento.registry.yaml_reader import YamlRefused, read_yaml
from evento.schema import parse_schema

_SUFFIXES = {".yaml", ".yml"}
_SCHEMA: ValuePath = ("spec", "schema")
_SCHEMA_FILE: ValuePath = ("spec", "schema", "file")


def read_manifests(paths: Sequence[Path | str]) -> Documents:
    """Return the documents in these YAML files, and in the YAML files directly in these folders.

    Reads files: not for the event loop. What cannot be read is among the problems; nothing is raised.
    """
    problems: list[Problem] = []
    documents: list[Document] = []
    files = _files(paths, problems)
    if len(files) > MANIFEST_FILES_MAX:
        return Documents(problems=(Problem(f"more than {MANIFEST_FILES_MAX} manifest files; deploy them in parts"),))
    for file in files:
        documents += _read_file(file, problems)
        if len(documents) > DOCUMENTS_MAX:
            return Documents(problems=(Problem(f"more than {DOCUMENTS_MAX} documents; deploy them in parts"),))
    return _standing_alone(documents, problems)


def _files(paths: Sequence[Path | str], problems: list[Problem]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if os.path.isdir(path):
            found = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
            if not found:
                problems.append(Problem("there is no .yaml or .yml file in this folder", file=str(path)))
            files += found
        elif os.path.isfile(path):
            files.append(path)
        else:
            problems.append(Problem("there is no such file or folder", file=str(path)))
    return list(dict.fromkeys(files))


def _read_file(file: Path, problems: list[Problem]) -> list[Document]:
    try:
        parts = read_yaml(read_text(file, MANIFEST_BYTES_MAX))
    except FileRefused as refused:
        problems.append(Problem(refused.message, file=str(file)))
        return []
    except YamlRefused as refused:
        problems.append(Problem(refused.message, file=str(file), line=refused.line))
        return []
    documents: list[Document] = []
    for number, part in enumerate(parts, 1):
        origin = Origin(file=str(file), document=number, lines=part.lines)
        rule = broken_rule(part.value)
        if rule is None and isinstance(part.value, dict):
            documents.append(Document(part.value, origin))
        else:
            problems.append(origin.problem(rule or "", value=part.value))
    return documents


def _standing_alone(documents: list[Document], problems: list[Problem]) -> Documents:
    schemas = SchemaFiles()
    for document in documents:
        given = _schema(document)
        if is_file_reference(given):
            schemas.take(_folder(document), _file_name(given))
    types = schemas.types
    return Documents(tuple(_resolved(document, schemas, types, problems) for document in documents), tuple(problems))


def _folder(document: Document) -> Path:
    return Path(document.origin.file).parent


def _schema(document: Document) -> object:
    spec = document.content.get("spec")
    return spec.get("schema") if isinstance(spec, dict) else None


def _file_name(reference: object) -> str:
    name = reference["file"] if isinstance(reference, dict) else None
    return name if isinstance(name, str) else ""


def _resolved(document: Document, schemas: SchemaFiles, types: Mapping[str, object], problems: list[Problem]) -> Document:
    spec = document.content.get("spec")
    if not isinstance(spec, dict):
        return document
    if document.content.get("kind") == "Function":
        return _with_spec(document, _with_directory(document, spec))
    given = spec.get("schema")
    if given is None or (not is_file_reference(given) and not types):
        return document
    try:
        return _with_spec(document, {**spec, "schema": _definition(document, given, schemas, types)})
    except FileRefused as refused:
        problems.append(
            document.origin.problem(refused.message, _SCHEMA_FILE, resource=title_of(document), value=_file_name(given))
        )
    except SchemaRefused as refused:
        problem = schema_problem(refused, document.origin, title_of(document), file=_file_name(given))
        problems.append(replace(problem, message=problem.message + schemas.remark(problem.message)))
    return replace(document, schema_refused=True)


def _definition(document: Document, given: object, schemas: SchemaFiles, types: Mapping[str, object]) -> object:
    """Return the schema with the shared types that it uses put in. Raises FileRefused, SchemaRefused."""
    definition, own = given, None
    if is_file_reference(given):
        definition = schemas.text(_folder(document), _file_name(given))
        own = full_name(definition)
    try:
        # First by itself: a schema that needs no other file may hold its own definition of a type that stands in one.
        schema = parse_schema(definition)
    except SchemaRefused:
        schema = parse_schema(definition, named={name: type_ for name, type_ in types.items() if name != own})
    return json.loads(schema.text)


def _with_spec(document: Document, spec: Mapping[str, object]) -> Document:
    return replace(document, content={**document.content, "spec": spec})


def _with_directory(document: Document, spec: Mapping[str, object]) -> Mapping[str, object]:
    directory = spec.get("directory", "")
    if "command" not in spec or not isinstance(directory, str) or "\0" in directory:
        return spec
    return {**spec, "directory": os.path.realpath(_folder(document) / directory)}
