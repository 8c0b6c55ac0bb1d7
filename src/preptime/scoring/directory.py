"""Restaurants that a bundle has never heard of: a restaurants file says where they are and what they cook."""

from __future__ import annotations

import numpy as np

from preptime.domain.order import UNKNOWN_CODE
from preptime.features.directory import RestaurantIndex, Vocabularies, recode


def merge_restaurants(known: RestaurantIndex, extra: RestaurantIndex) -> RestaurantIndex:
    """`known` and those restaurants of `given` that it lacks, by ascending id, in `known`'s codes.

    A restaurant that the bundle knows stays as the bundle knows it: its history was counted in that place. Zones are
    numbered anew, since no model reads them.
    """
    recoded = extra.recoded(known.vocabularies)
    new_rows = np.flatnonzero(known.positions(recoded.restaurant_id) == UNKNOWN_CODE)
    ids = np.concatenate([known.restaurant_id, recoded.restaurant_id[new_rows]])
    id_order = np.argsort(ids)
    known_vocabularies, recoded_vocabularies = known.vocabularies, recoded.vocabularies
    zones = tuple(sorted({*known_vocabularies.time_zone, *recoded_vocabularies.time_zone}))
    zone_codes = (
        recode(known.time_zone, known_vocabularies.time_zone, zones),
        recode(recoded.time_zone[new_rows], recoded_vocabularies.time_zone, zones),
    )
    return RestaurantIndex(
        Vocabularies(known_vocabularies.country, known_vocabularies.city, known_vocabularies.type_of_food, zones),
        ids[id_order],
        np.concatenate([known.country, recoded.country[new_rows]])[id_order],
        np.concatenate([known.city, recoded.city[new_rows]])[id_order],
        np.concatenate([known.type_of_food, recoded.type_of_food[new_rows]])[id_order],
        np.concatenate(zone_codes)[id_order],
    )
