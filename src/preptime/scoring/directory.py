"""Restaurants that a bundle has never heard of: a restaurants file says where they are and what they cook."""

from __future__ import annotations

import numpy as np

from preptime.domain.order import UNKNOWN
from preptime.features.directory import Directory, Vocabularies, recode


def extended(known: Directory, given: Directory) -> Directory:
    """`known` and those restaurants of `given` that it lacks, by ascending id, in `known`'s codes.

    A restaurant that the bundle knows stays as the bundle knows it: its history was counted in that place. Zones are
    numbered anew, since no model reads them.
    """
    named = given.named(known.vocabularies)
    new = np.flatnonzero(known.positions(named.restaurant_id) == UNKNOWN)
    ids = np.concatenate([known.restaurant_id, named.restaurant_id[new]])
    order = np.argsort(ids)
    mine, theirs = known.vocabularies, named.vocabularies
    zones = tuple(sorted({*mine.time_zone, *theirs.time_zone}))
    numbered = (
        recode(known.time_zone, mine.time_zone, zones),
        recode(named.time_zone[new], theirs.time_zone, zones),
    )
    return Directory(
        Vocabularies(mine.country, mine.city, mine.type_of_food, zones),
        ids[order],
        np.concatenate([known.country, named.country[new]])[order],
        np.concatenate([known.city, named.city[new]])[order],
        np.concatenate([known.type_of_food, named.type_of_food[new]])[order],
        np.concatenate(numbered)[order],
    )
