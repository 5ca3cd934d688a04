"""Who may import what (ARCHITECTURE.md): the contracts in pyproject.toml, where each library has its place, and the rest of it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "evento").rglob("*.py"))

# Where a library may be imported: its exceptions and types are translated there, and known nowhere else.
PLACES = {
    "aiodocker": ("evento/functions/engine_api.py",),
    "aiohttp": (
        "evento/building/engine_build.py",
        "evento/client.py",
        "evento/cluster/",
        "evento/functions/engine_api.py",
        "evento/journal/kafka/publishing.py",
        "evento/testing/",
    ),
    "apsw": ("evento/journal/sqlite/",),
    "avro": ("evento/schema/apache.py",),
    "confluent_kafka": ("evento/journal/kafka/",),
    "cryptography": ("evento/keys.py", "evento/sdk/signed.py"),
    "fastavro": ("evento/schema/", "evento/protocol/", "evento/functions/", "evento/sdk/", "evento/testing/", "evento/transfer/"),
    "httptools": ("evento/functions/connection.py", "evento/api/server.py", "evento/sdk/server.py", "evento/testing/"),
    "opentelemetry": ("evento/tracing/setup.py", "evento/tracing/spans.py"),
    "prometheus_client": ("evento/telemetry.py",),
    "pydantic": ("evento/kubernetes/definitions.py", "evento/registry/"),
    "rbloom": ("evento/journal/sqlite/filters.py",),
    "rich": ("evento/cli/",),
    "ruamel": ("evento/kubernetes/yaml_writer.py", "evento/registry/yaml_reader.py"),
    "starlette": ("evento/api/",),
    "typer": ("evento/cli/",),
    "uvicorn": ("evento/bootstrap.py", "evento/api/server.py", "evento/sdk/server.py"),
    "uvloop": ("evento/cli/running.py", "evento/sdk/server.py"),
}
# msgspec is the language of the platform's records: it may stand anywhere but in what a user's function needs.
FORBIDDEN_IN_SDK = {"msgspec", *PLACES} - {"fastavro", "httptools", "uvicorn", "uvloop"}


def imported(path: Path) -> Iterator[str]:
    """Yield the top names of what a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_import_contracts_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([program, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_a_library_is_imported_only_where_it_has_its_place() -> None:
    found = ((path.relative_to(ROOT).as_posix(), name) for path in MODULES for name in imported(path))
    assert not [(place, name) for place, name in found if name in PLACES and not place.startswith(PLACES[name])]


def test_the_sdk_and_the_protocol_import_without_the_platforms_packages() -> None:
    """Those who write functions install the base package alone."""
    program = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(FORBIDDEN_IN_SDK)!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import evento.sdk, evento.sdk.testing, evento.sdk.server, evento.sdk.__main__, evento.protocol
ours = sorted(name for name in sys.modules if name.startswith("evento.") and not name.startswith(("evento.sdk", "evento.protocol")))
assert not ours, ours
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_command_line_starts_without_what_it_does_not_need() -> None:
    """Starting up should not be felt: `evento --help` imports neither the platform nor anything that draws tables."""
    program = """
import sys
from evento.cli.main import app
heavy = {"fastavro", "pydantic", "starlette", "apsw", "aiohttp", "uvicorn", "evento.bootstrap", "evento.engine"} & set(sys.modules)
assert not heavy, heavy
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
