"""Trees of what proposers have at hand: best first, one node a token, judged by the text."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import PROMPTS, TABLE, decode, random_model

from dynexit import Controller, DynexitError, Facts, Plan, Sampling
from dynexit.decoding.native_offer import NativePanel
from dynexit.decoding.offer import Panel
from dynexit.decoding.proposers import Proposer, make_proposers, proposers
from dynexit.decoding.proposers.lookup import MATCHED, Lookup
from dynexit.decoding.proposers.table import Table
from dynexit.decoding.successors import SuccessorTable
from dynexit.model.native.proposing import functions

FACTS = Facts(5, None, None, None, TABLE, None, None)


class Says(Proposer):
    """After a token, what it is told to say, each a kind of evidence of its own."""

    def __init__(self, source, priors, said):
        self.source, self.priors, self._said = source, priors, said

    def after(self, path, place):
        return [(token, kind, None) for token, kind in self._said.get(path[-1], ())]


def offered(proposers, tokens, ends=(), chain=False):
    panel = Panel(proposers, frozenset(ends))
    panel.begin(tokens)
    return panel.offer(chain)


def grown(tree, floors=(0.01,) * 8, odds=None):
    expected = tree.grow(sum(tree.priors, ()) if odds is None else odds, floors)
    return tree.draft(64), expected


def test_the_likeliest_path_grows_first_and_others_beside_it():
    says = Says("table", (0.6, 0.3), {1: [(2, 0), (3, 1)], 2: [(4, 0), (5, 1)], 3: [(6, 0)]})
    draft, expected = grown(offered([says], [9, 1]), (0.15,) * 4)
    assert draft.tokens == [2, 4, 3, 5]  # 0.6, 0.36, 0.3, 0.18 = 0.18 of token 6, found later
    assert draft.parents == [0, 1, 0, 1]
    assert expected == pytest.approx(0.6 + 0.36 + 0.3 + 0.18)
    chain, expected = grown(offered([says], [9, 1], chain=True), (0.15,) * 4)
    assert (chain.tokens, chain.parents) == ([2, 4], None)
    assert expected == pytest.approx(0.96)


def test_a_token_that_two_name_is_one_node_and_likelier():
    first, second = (Says(s, (0.5,), {1: [(2, 0)]}) for s in ("lookup", "table"))
    draft, expected = grown(offered([first, second], [1]))
    assert (draft.tokens, draft.sources) == ([2], ["lookup"])
    assert expected == pytest.approx(0.75)


def test_what_a_later_one_names_counts_where_the_earlier_ones_are_wrong():
    first, second = Says("lookup", (0.8,), {1: [(2, 0)]}), Says("table", (0.5,), {1: [(3, 0)]})
    draft, expected = grown(offered([first, second], [1]))
    assert draft.sources == ["lookup", "table"]
    assert expected == pytest.approx(0.8 + 0.2 * 0.5)


def test_nothing_follows_a_token_that_ends_the_text():
    says = Says("table", (0.9,), {1: [(2, 0)], 2: [(3, 0)]})
    assert grown(offered([says], [1], ends=[2]))[0].tokens == [2]


def test_a_draft_is_cut_to_its_first_levels():
    says = Says("table", (0.6, 0.3), {1: [(2, 0), (3, 1)], 2: [(4, 0)]})
    tree = offered([says], [1])
    grown(tree)
    assert tree.depth == 2
    assert tree.draft(1).tokens == [2, 3]
    assert tree.draft(1).parents == [0, 0]
    assert not tree.draft(0).tokens


def test_evidence_is_judged_as_far_as_the_text_goes_on_in_the_tree():
    says = Says("table", (0.6, 0.3), {1: [(2, 0), (3, 1)], 2: [(4, 0)], 3: [(5, 1)]})
    tokens = [1]
    panel = offered([says], tokens)
    assert panel.evidence() == ([0, 0], [0, 0])
    grown(panel)
    tokens += [2, 9, 4]
    assert panel.evidence() == ([1, 0], [2, 1])
    tokens.append(4)  # no tree has grown since
    assert panel.evidence() == ([0, 0], [0, 0])
    tokens.append(1)
    grown(panel)
    tokens += [3, 5]
    grown(panel, floors=(2.0,) * 8)  # it has judged the last tree
    tokens.append(9)
    assert panel.evidence() == ([0, 2], [1, 2])
    unlikely = offered([says], tokens := [1])
    grown(unlikely, floors=(2.0,) * 8)  # what is not drafted is judged, too
    tokens += [3, 5]
    assert unlikely.evidence() == ([0, 1], [1, 1])


CHAINS = st.lists(st.floats(0.05, 0.95), min_size=4, max_size=4)


@given(CHAINS, st.lists(st.floats(0.0, 1.0), max_size=6))
def test_best_first_keeps_what_the_best_of_all_trees_keeps(odds, floors):
    """Against all subsets of a complete tree of two children and three levels."""
    said = {1: [(2, 0), (3, 1)], 2: [(4, 2), (5, 3)], 3: [(6, 2), (7, 3)]}
    floors = sorted(floors)
    tree = offered([Says("table", tuple(odds), said)], [1])
    expected = tree.grow(odds, floors)
    chances = {2: odds[0], 3: (1.0 - 0.0) * odds[1]}
    for parent in (2, 3):
        for token, kind in said[parent]:
            chances[token] = chances[parent] * odds[kind]
    parents = {2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3}
    best = 0.0
    for kept in product((False, True), repeat=6):
        chosen = [token for token, keep in zip(parents, kept, strict=True) if keep]
        if len(chosen) <= len(floors) and all(parents[t] in (1, *chosen) for t in chosen):
            worth = sum(chances[t] for t in chosen) - sum(floors[: len(chosen)])
            best = max(best, worth)
    assert expected - sum(floors[: tree.size]) == pytest.approx(best, abs=1e-9)


def test_lookup_reads_on_after_its_match_and_round_and_round():
    tokens = [5, 1, 2, 3, 1, 2, 3]
    lookup = Lookup()
    lookup.begin(tokens)
    draft, expected = grown(offered([lookup], tokens), (0.01,) * 7)
    assert draft.tokens == [1, 2, 3, 1, 2, 3, 1]
    chance, chances = 1.0, 0.0
    for match in range(3, 10):
        chance *= MATCHED[match - 1]
        chances += chance
    assert expected == pytest.approx(chances)
    tokens.append(9)
    assert not grown(offered([lookup], tokens))[0].tokens


def test_a_table_goes_by_the_longest_context_it_knows():
    table = Table(SuccessorTable.of({(1,): [(7, 0.9)], (4, 1): [(8, 0.55), (9, 0.31)]}))
    assert [token for token, *_ in table.after([4, 1], None)] == [8, 9]
    assert [token for token, *_ in table.after([5, 1], None)] == [7]
    kinds = [kind for path in ([4, 1], [1]) for _, kind, _ in table.after(path, None)]
    assert kinds == [15, 13, 9]
    assert [table.priors[kind] for kind in kinds] == pytest.approx([0.55, 0.35, 0.95])


def test_proposers_are_found_by_name_and_those_with_nothing_to_say_are_left_out():
    assert set(proposers()) == {"lookup", "earlier", "table"}
    assert len(make_proposers(("lookup", "table"), FACTS)) == 2
    assert (
        len(make_proposers(("lookup", "table"), Facts(5, None, None, None, None, None, None))) == 1
    )
    with pytest.raises(DynexitError, match="the unknown proposer 'tabel'"):
        make_proposers(("tabel",), FACTS)


SMALL = st.integers(0, 6)
NEXT = st.tuples(SMALL, st.floats(0.01, 1.0))
CONTEXTS = st.dictionaries(
    st.lists(SMALL, min_size=1, max_size=3).map(tuple),
    st.lists(NEXT, min_size=1, max_size=3, unique_by=lambda each: each[0]),
    max_size=40,
)
NAMES = ("lookup",), ("lookup", "table"), ("table",)


@pytest.mark.skipif(functions() is None, reason="the native library is not built here")
@given(st.data())
def test_the_library_grows_the_same_trees(data):
    known = {c: sorted(f, key=lambda each: -each[1]) for c, f in data.draw(CONTEXTS).items()}
    table, names = SuccessorTable.of(known), data.draw(st.sampled_from(NAMES))
    ends, tokens = frozenset(data.draw(st.sets(SMALL, max_size=2))), [data.draw(SMALL)]
    facts = Facts(5, None, None, None, table, None, None)
    both = Panel(make_proposers(names, facts), ends), NativePanel.of(names, facts, ends)
    assert both[0].priors == both[1].priors
    for panel in both:
        panel.begin(tokens)
    for _ in range(data.draw(st.integers(1, 4))):
        tokens += data.draw(st.lists(SMALL, max_size=8))
        odds = [data.draw(st.floats(0.0, 1.0)) for _ in sum(both[0].priors, ())]
        floors = sorted(data.draw(st.lists(st.floats(0.0, 0.9), max_size=9)))
        chain, depth = data.draw(st.booleans()), data.draw(st.integers(0, 9))
        mine, theirs = (panel.offer(chain) for panel in both)
        assert mine.grow(odds, floors) == theirs.grow(odds, floors)
        assert (mine.size, mine.depth) == (theirs.size, theirs.depth)
        assert mine.draft(depth) == theirs.draft(depth)
        tokens += data.draw(st.lists(SMALL, max_size=6))
        if data.draw(st.booleans()):
            assert mine.evidence() == theirs.evidence()
    assert mine.evidence() == theirs.evidence()


class Bushy(Controller):
    """Takes all that is offered, however unlikely."""

    drafters, proposers = ("sources",), ("lookup", "table")

    def consider(self, offer):
        offer.grow(sum(offer.priors, ()), (1e-6,) * 12)
        self.depth = offer.depth

    def plan(self):
        return Plan(0, self.depth, drafter="sources")


class Beyond(Bushy):
    """Asks a proposer that names a token which no vocabulary here has."""

    proposers = ("beyond",)


def test_a_token_outside_the_vocabulary_is_told(monkeypatch):
    beyond = Says("table", (0.9,), {token: [(99, 0)] for token in range(29)})
    known = {"beyond": lambda facts: beyond}
    monkeypatch.setattr("dynexit.decoding.proposers.proposers", lambda: known)
    with pytest.raises(DynexitError, match="a proposer named token 99"):
        decode(random_model(), [3, 1, 4], Beyond())


@pytest.mark.parametrize(
    "rule", [Sampling(), Sampling(0.8, seed=4), Sampling(presence_penalty=1.0)]
)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_trees_of_what_is_offered_change_no_token(rule, prompt):
    model = random_model(depth_gain=0.6)
    plain, _ = decode(model, prompt, max_new_tokens=60, sampling=rule)
    mine, chunks = decode(model, prompt, Bushy(), max_new_tokens=60, sampling=rule)
    assert mine.new_tokens == plain.new_tokens
    assert mine.stats.accepted > 0
    assert {"lookup", "table"} & {chunk.source for chunk in chunks}
    assert any(r.draft and r.draft.parents for r in mine.stats.rounds)
