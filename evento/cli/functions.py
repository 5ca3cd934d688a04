"""`evento function`: work on functions, in any language."""

from pathlib import Path
from typing import Annotated

import typer

from evento.cli import building, discovering
from evento.cli.output import EXIT_REFUSED, Form, Output, run, show_json, show_table, tell

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work on functions, in any language.")


app.command("build", epilog=building.BUILD_EXAMPLE)(building.build)
app.command("scaffold", epilog=building.SCAFFOLD_EXAMPLE)(building.scaffold)
app.command("discovery", epilog=discovering.EXAMPLE)(discovering.discovery)


@app.command("check", epilog="Example: evento function check http://127.0.0.1:8080")
def check(
    target: Annotated[str, typer.Argument(metavar="URL", help="http://host:port, or unix:/path of its socket")],
    key: Annotated[Path | None, typer.Option(help="sign the calls with the private key in this file")] = None,
    output: Output = Form.TEXT,
) -> None:
    """Check a running function against the rules of the function protocol."""
    from evento.keys import read_signing_key
    from evento.testing.function_kit import CheckResult, check_function

    async def work() -> list[CheckResult]:
        return await check_function(target, read_signing_key(key) if key else None)

    results = run(work)
    failed = [result for result in results if not result.ok]
    if output is Form.JSON:
        show_json({"ok": not failed, "results": results})
    else:
        rows = [(result.rule, result.name, "ok" if result.ok else "FAILED", result.detail) for result in results]
        show_table(f"{target} and the rules of the function protocol", ("rule", "what", "", "found"), rows)
    tell(f"{len(failed)} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed")
    if failed:
        raise typer.Exit(EXIT_REFUSED)
