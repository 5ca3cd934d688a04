"""Which Entities a journal must have a place for. Knows neither journals' backends nor when they are asked."""

from collections.abc import Sequence

from evento.journal.base import EntityPlace
from evento.registry.catalog import Catalog
from evento.registry.deployment import Plan


def places_of(catalog: Catalog) -> Sequence[EntityPlace]:
    """Return the Entities of a catalog."""
    return [EntityPlace(spec.namespace, spec.name, spec.partitions) for spec in catalog.entities.values()]


def entities_after(catalog: Catalog, plan: Plan) -> Sequence[EntityPlace]:
    """Return the Entities that there are once a plan for `catalog` is committed."""
    places = {(place.namespace, place.entity): place for place in places_of(catalog)}
    for record in plan.content.entities:
        places[record.namespace, record.name] = EntityPlace(record.namespace, record.name, record.partitions)
    return list(places.values())
