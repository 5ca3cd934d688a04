"""Deploying: read, check everything, show what would change, then commit the new catalog version at once (design §4).

Nothing changes before `commit`, and a commit is one append to the catalog log: all of it or nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from evento.errors import DeploymentRefused, JournalCorrupt
from evento.journal.base import CatalogLog
from evento.model.resources import FunctionSpec, Pinned
from evento.registry.catalog import Catalog
from evento.registry.checks import problems_between
from evento.registry.contents import Contents
from evento.registry.declared import Declared, declare
from evento.registry.differences import differences
from evento.registry.documents import Documents, Problem
from evento.registry.draft import Draft, Key, key_of
from evento.registry.limits import CATALOG_BYTES_MAX
from evento.registry.records import CatalogChange, decode_change, encode_change

_ATTEMPTS_MAX = 10  # commits that lose the race against other deployments


class Action(StrEnum):
    """What a deployment does to a resource."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


class Change(Struct, frozen=True):
    """One line of a plan. `entity` is that of a Command or Event; `differences` has a phrase for each when updated."""

    action: Action
    kind: str
    namespace: str
    name: str
    entity: str = ""
    differences: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """What a deployment would do to catalog version `base`; with any problem it will do nothing.

    `content`, `declared` and `prune` are what `Registry.commit` needs; the rest is for people.
    """

    base: int
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    content: CatalogChange
    declared: tuple[Declared, ...]
    prune: bool = False

    @property
    def changed(self) -> bool:
        """Return whether there is anything to commit."""
        return any(change.action != Action.UNCHANGED for change in self.changes)


class Registry:
    """Keeps the newest catalog that it knows of, and makes new ones."""

    def __init__(self, log: CatalogLog) -> None:
        self._log = log
        self.catalog = Catalog(0, Contents())

    async def load(self) -> Catalog:
        """Return the newest catalog in the log.

        Raises JournalError if a newer Evento wrote it, JournalCorrupt if the log contradicts itself.
        """
        base = self.catalog
        version, contents = base.version, base.contents.copy()
        for number, content in await self._log.read_catalogs(after=version):
            if number != version + 1:
                raise JournalCorrupt(f"catalog version {number} follows on version {version}", version=number)
            contents.absorb(number, decode_change(number, content))
            version = number
        if version > self.catalog.version:
            self.catalog = Catalog(version, contents, before=base)
        return self.catalog

    def plan(self, documents: Documents, *, prune: bool = False) -> Plan:
        """Check documents against the catalog loaded last, and return what deploying them would do; changes nothing.

        Reads the files of functions: not for the event loop. With `prune`, the Commands of the namespaces that the documents name,
        and the Functions there that nothing needs any more, are removed unless the documents mention them; what was stored stays
        readable.
        """
        declared, problems = declare(documents)
        return _plan(self.catalog, tuple(declared), tuple(problems), prune=prune)

    def pinned(self, plan: Plan, images: Mapping[tuple[str, str], Pinned]) -> Plan:
        """Return the plan with these contents of functions that are images, by namespace and name."""
        declared = [
            replace(each, function=_with_content(each.function, images[each.namespace, each.name], self.catalog))
            if each.function is not None and (each.namespace, each.name) in images
            else each
            for each in plan.declared
        ]
        return _plan(self.catalog, tuple(declared), plan.problems, prune=plan.prune)

    def preview(self, plan: Plan) -> Catalog:
        """Return the catalog as it would be after the plan; nothing of it is kept, for its new schema ids may yet go to others."""
        return _after(self.catalog, plan)

    async def commit(self, plan: Plan) -> Catalog:
        """Make the plan's version durable and return the catalog; the one that is, when there is nothing to change.

        When somebody else deployed in between, the plan is made again, and committed if it still does the same.
        Raises DeploymentRefused: the plan has problems, or it would now do something else than was shown. Nothing was changed.
        """
        _refuse(plan)
        shown = plan
        for _ in range(_ATTEMPTS_MAX):
            if plan.base != self.catalog.version:
                plan = _plan(self.catalog, plan.declared, (), prune=plan.prune)
                _refuse(plan)
            if not plan.changed:
                return self.catalog
            if plan.changes != shown.changes:
                break
            won = await self._log.append_catalog(plan.base + 1, encode_change(plan.content))
            await self.load()
            if won:
                return self.catalog
        message = f"the catalog changed since this plan was made (version {shown.base}, now {self.catalog.version}): plan again"
        raise DeploymentRefused(message, problems=[msgspec.to_builtins(Problem(message))])


def plan_afresh(documents: Documents) -> Plan:
    """Return what deploying documents would do where nothing is deployed yet: whether they are sound by themselves.

    Reads the files of functions: not for the event loop.
    """
    declared, problems = declare(documents)
    return _plan(Catalog(0, Contents()), tuple(declared), tuple(problems), prune=False)


def catalog_afresh(plan: Plan) -> Catalog:
    """Return the catalog that a plan of `plan_afresh` leads to."""
    return _after(Catalog(0, Contents()), plan)


def _after(base: Catalog, plan: Plan) -> Catalog:
    contents = base.contents.copy()
    contents.absorb(plan.base + 1, plan.content)
    return Catalog(plan.base + 1, contents)


def _with_content(function: FunctionSpec, pinned: Pinned, catalog: Catalog) -> FunctionSpec:
    """Other digests alone are no change: the same content has been pushed, or was pulled, since it was deployed."""
    before = catalog.functions.get((function.namespace, function.name))
    same = before is not None and before.digests and (before.image, before.revision) == (function.image, pinned.revision)
    digests = before.digests if before is not None and same else pinned.digests
    return replace(function, revision=pinned.revision, digests=digests)


def _refuse(plan: Plan) -> None:
    if plan.problems:
        count = len(plan.problems)
        raise DeploymentRefused(
            f"the deployment has {count} problem{'s' if count > 1 else ''}; nothing was changed. The first: {plan.problems[0]}",
            problems=msgspec.to_builtins(plan.problems),
        )


def _plan(base: Catalog, declared: tuple[Declared, ...], read: tuple[Problem, ...], *, prune: bool) -> Plan:
    draft = Draft(base, declared, prune=prune)
    content = draft.change()
    problems = [*read, *problems_between(declared, draft)]
    size = len(encode_change(content))
    if size > CATALOG_BYTES_MAX:
        problems.append(Problem(f"the deployment brings {size} bytes, more than {CATALOG_BYTES_MAX}; deploy it in parts"))
    return Plan(
        base=base.version,
        changes=tuple(_changes(declared, draft)),
        problems=tuple(problems),
        content=content,
        declared=declared,
        prune=prune,
    )


def _changes(declared: Sequence[Declared], draft: Draft) -> Iterator[Change]:
    seen: set[Key] = set()
    for each in declared:
        key = key_of(each)
        new = draft.records.get(key)
        if new is None or key in seen:
            continue
        seen.add(key)
        old = draft.deployed(key)
        differing = differences(old, new, draft.text) if old is not None else ()
        action = Action.CREATED if old is None else Action.UPDATED if differing else Action.UNCHANGED
        yield Change(action, each.kind, each.namespace, each.name, each.entity, differing)
    for command in draft.removed_commands:
        yield Change(Action.REMOVED, "Command", command.namespace, command.name, command.entity)
    for function in draft.removed_functions:
        yield Change(Action.REMOVED, "Function", function.namespace, function.name)
