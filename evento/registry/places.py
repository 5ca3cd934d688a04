"""Which Entities a journal must have a place for. Knows neither journals' backends nor when they are asked."""

from collections.abc import Sequence

from msgspec.structs import replace

from evento.journal.base import EntityPlace
from evento.registry.catalog import Catalog
from evento.registry.deployment import Plan


def places_of(catalog: Catalog) -> Sequence[EntityPlace]:
    """Return the Entities of the catalog of the journal itself."""
    return [EntityPlace(spec.namespace, spec.name, spec.partitions, deployed=True) for spec in catalog.entities.values()]


def places_for(catalog: Catalog) -> Sequence[EntityPlace]:
    """Return the Entities of another journal's catalog, which is to become this one's."""
    return [replace(place, deployed=False) for place in places_of(catalog)]


def entities_after(catalog: Catalog, plan: Plan) -> Sequence[EntityPlace]:
    """Return the Entities that there are once a plan for `catalog` is committed."""
    places = {(place.namespace, place.entity): place for place in places_of(catalog)}
    for record in plan.content.entities:
        key = record.namespace, record.name
        places[key] = EntityPlace(*key, record.partitions, deployed=key in places)
    return list(places.values())
