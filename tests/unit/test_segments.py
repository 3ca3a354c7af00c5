"""Names and cards of segments whose tastes were planted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import contents
from contents import GENRES
from tastemap.report import segments
from tastemap.report.content import Content


@pytest.fixture(scope="module")
def planted() -> Content:
    return contents.content()


def test_names_tell_the_planted_genre_decade_and_a_movie_of_it(planted: Content) -> None:
    names = segments.names(planted)
    assert list(names) == [0, 1, 2, 3]
    for cluster, (genre, decade) in enumerate(zip(GENRES, contents.DECADES, strict=True)):
        parts = names[cluster].split(", ")
        assert parts[:2] == [genre, f"{decade}s"]
        assert genre in parts[2] or parts[2].startswith("movie ")


def test_a_segment_does_not_go_by_a_movie_it_likes_less(planted: Content) -> None:
    movies = planted.movies
    unsure = movies.assign(effect_low=-1.0, effect_high=1.0)  # so that what is watched decides
    before = segments.names(dataclasses.replace(planted, movies=unsure))[0].split(", ", 2)[2]
    disliked = unsure["title"].map(lambda title: segments.label({"movie_id": 0, "title": title}) == before)
    assert disliked.sum() == contents.K
    less = unsure.assign(effect_high=np.where(disliked, -0.1, 1.0))
    after = segments.names(dataclasses.replace(planted, movies=less))[0].split(", ", 2)[2]
    assert after != before and GENRES[0] in after


def test_no_two_segments_go_by_the_same_movie(planted: Content) -> None:
    one = planted.movies[planted.movies["cluster"] == 0]
    alike = pd.concat([one.assign(cluster=cluster) for cluster in range(4)])
    names = segments.names(dataclasses.replace(planted, movies=alike))
    assert len({name.split(", ", 2)[2] for name in names.values()}) == 4


def test_without_genres_and_years_a_movie_is_the_name() -> None:
    names = segments.names(contents.content(genres=False))
    assert all(", " not in name and name for name in names.values())


def test_a_segment_like_all_others_has_no_name(planted: Content) -> None:
    nothing = dataclasses.replace(
        planted, movies=planted.movies[:0], genres=planted.genres.assign(lift=1.0), years=planted.years[:0]
    )
    assert set(segments.names(nothing).values()) == {"No common taste"}


def test_what_is_distinctive_is_what_adds_most_to_the_divergence() -> None:
    table = pd.DataFrame(
        {
            "genre": ["rare", "common", "usual", "less"],
            "share": [0.04, 0.30, 0.40, 0.06],
            "lift": [5.0, 1.3, 1.05, 2.0],
        }
    )
    # 0.30 log 1.3 = 0.079 and 0.06 log 2 = 0.042; the rare and the usual one do not count.
    assert segments.distinctive(table, "genre") == ["common", "less"]


def test_decades_against_pandas(planted: Content) -> None:
    found = segments.by_decade(planted.years).set_index(["cluster", "decade"])
    years = planted.years.assign(decade=planted.years["year"] // 10 * 10)
    n = years.pivot_table(index="cluster", columns="decade", values="n_ratings", aggfunc="sum")
    share = n.div(n.sum(axis=1), axis=0).stack()
    lift = (n.div(n.sum(axis=1), axis=0) / (n.sum() / n.to_numpy().sum())).stack()
    np.testing.assert_allclose(found["share"], share.loc[found.index])
    np.testing.assert_allclose(found["lift"], lift.loc[found.index])


def test_cards_hold_what_the_tables_say(planted: Content) -> None:
    cards = segments.cards(planted)
    assert [card.cluster for card in cards] == [0, 1, 2, 3]
    for card in cards:
        movies = planted.movies[planted.movies["cluster"] == card.cluster].set_index("movie_id")
        assert card.n_users == planted.profiles["n_users"][card.cluster]
        loved = movies[movies["effect_low"] > 0]["effect"].nlargest(5)
        assert [line.value for line in card.love_more] == loved.tolist()
        less = movies[movies["effect_high"] < 0]["effect"].nsmallest(5)
        assert [line.value for line in card.like_less] == less.tolist()
        sure = movies[movies["lift_low"] > 1]
        telling = (sure["share_rated"] * np.log(sure["lift_low"])).nlargest(5).index
        assert [line.value for line in card.watch_more] == sure.loc[telling, "lift"].tolist()
        for line in (*card.watch_more, *card.love_more, *card.like_less):
            assert line.low < line.value < line.high
        genre = GENRES[card.cluster]
        assert all(genre in line.label or line.label.startswith("movie ") for line in card.love_more)


def test_what_may_be_chance_is_on_no_card(planted: Content) -> None:
    unsure = planted.movies.assign(effect_low=-9.0, effect_high=9.0, lift_low=0.1, lift_high=9.0)
    for card in segments.cards(dataclasses.replace(planted, movies=unsure)):
        assert card.watch_more == card.love_more == card.like_less == ()


def test_typical_members_are_named_only_when_asked_for(planted: Content) -> None:
    labels = [member.label for card in segments.cards(planted) for member in card.typical]
    assert labels == ["Member 1", "Member 2", "Member 3"] * 4
    named = segments.cards(dataclasses.replace(planted, user_ids=True))
    chosen = [member.typical["user_id"].tolist() for member in planted.sample.members]
    assert [[m.label for m in card.typical] for card in named] == [
        [f"user {u}" for u in ids] for ids in chosen
    ]


def test_typical_members_best_movies_are_their_best_rated(planted: Content) -> None:
    for card, members in zip(segments.cards(planted), planted.sample.members, strict=True):
        for member, stars in zip(card.typical, members.typical_ratings, strict=True):
            best = np.sort(stars[~np.isnan(stars)])[::-1][:3]
            titles = dict(zip(planted.movies["movie_id"], planted.movies["title"], strict=True))
            by_label = {
                segments.label({"movie_id": movie, "title": titles[movie]}): given
                for movie, given in zip(members.movie_ids, stars, strict=True)
            }
            assert [by_label[title] for title in member.loved] == best.tolist()
