// What is known without a pass, grown into a tree, best first: tokens that followed the longest match of the text's
// last ones in the text itself or in earlier ones, and those that a table of successors holds. The same rules in Python, for any
// proposers, are in `src/dynexit/decoding/offer.py`; tests/decoding/test_offers.py holds both to the same answers.
#include <algorithm>
#include <cstring>
#include <new>
#include <unordered_map>
#include <vector>

#include "api.h"
#include "earlier.h"
#include "imagining.h"

namespace {

constexpr int kLongest = 32;        // a longer match says no more: `LONGEST` of suffixes.py
constexpr int kMatched = 13;        // kinds of evidence by length of match: as many as `MATCHED` of lookup.py
constexpr int kOften = 5;           // kinds by how often it followed: as many as `OFTEN` of proposers/earlier.py
constexpr int kLengths = 4;         // and of lengths of match there
constexpr int kParts = 10;          // of 0 to 1, by which a table's chances are told apart: `PARTS` of table.py
constexpr double kFull = 255.0;     // what a chance of 1 is stored as: `FULL` of successors.py
constexpr uint64_t kFactors[] = {0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7}, kOrder = 0xA24BAED4963EE407;

struct Match {
    int place, length = 0, begin;  // read on at `place`; where the text ends there, again from `begin`
};

struct Leaf {
    double chance;
    int found, parent;
    int64_t token;
    dx_source source;
    Match match;

    bool operator<(const Leaf& other) const {  // whether it comes after
        return chance != other.chance ? chance < other.chance : found > other.found;
    }
};

struct Named {
    int64_t token;
    double likely;
    dx_source source;
    Match match;
};

struct Evidence {
    int64_t token;
    int kind;
};

struct Node {
    int64_t token;
    int parent, depth, first, last;  // of its evidence
};

class Proposing {
  public:
    Proposing(bool lookup, const Earlier* earlier, const dx_successors* table) : lookup_(lookup), earlier_(earlier) {
        if (table) table_ = *table;
        right_.resize((lookup ? kMatched : 0) + (earlier ? kLengths * kOften : 0) + (table ? 3 * kParts : 0));
        seen_.resize(right_.size());
    }

    // Takes tokens that the text has gained; what the last tree said of them is evidence.
    void read(const int64_t* tokens, int count) {
        judge(tokens, count);
        for (int i = 0; i < count; ++i) {
            const auto [at, fresh] = last_.try_emplace(tokens[i], int(text_.size()));
            before_.push_back(fresh ? -1 : at->second);
            at->second = int(text_.size());
            text_.push_back(tokens[i]);
        }
    }

    void grow(const dx_growing& how, dx_grown& to) {
        nodes_.assign(1, {text_.back(), 0, 0, 0, 0});
        evidence_.clear();
        leaves_.clear();
        found_ = 0;
        to.nodes = to.depth = 0;
        to.expected = 0.0;
        open(1.0, longest(), how);
        while (!leaves_.empty() && to.nodes < how.most) {
            std::pop_heap(leaves_.begin(), leaves_.end());
            const Leaf leaf = leaves_.back();
            leaves_.pop_back();
            if (leaf.chance < how.floors[to.nodes]) break;
            to.expected += leaf.chance;
            to.tokens[to.nodes] = leaf.token;
            to.parents[to.nodes] = leaf.parent;
            to.sources[to.nodes++] = leaf.source;
            nodes_.push_back({leaf.token, leaf.parent, nodes_[leaf.parent].depth + 1, 0, 0});
            to.depth = std::max(to.depth, nodes_.back().depth);
            if (how.chain) leaves_.clear();
            if (to.nodes < how.most && std::find(how.ends, how.ends + how.num_ends, leaf.token) == how.ends + how.num_ends)
                open(leaf.chance, leaf.match, how);
        }
    }

    // How often each kind of evidence was right, and seen, since this was last asked.
    void tell(int32_t* right, int32_t* seen) {
        std::copy(right_.begin(), right_.end(), right);
        std::copy(seen_.begin(), seen_.end(), seen);
        std::fill(right_.begin(), right_.end(), 0);
        std::fill(seen_.begin(), seen_.end(), 0);
    }

  private:
    // Counts the last tree's evidence as far as the text went on in it.
    void judge(const int64_t* text, int count) {
        for (int i = 0, row = 0; i < count && row < int(nodes_.size()); ++i) {
            for (int at = nodes_[row].first; at < nodes_[row].last; ++at) {
                ++seen_[evidence_[at].kind];
                right_[evidence_[at].kind] += evidence_[at].token == text[i];
            }
            const int parent = row;
            for (++row; row < int(nodes_.size()); ++row)
                if (nodes_[row].parent == parent && nodes_[row].token == text[i]) break;
        }
        if (count) nodes_.clear();
    }

    // The longest match of the text's last tokens, of equals the latest.
    Match longest() const {
        const int end = int(text_.size()) - 1;
        Match best{0, 0, 0};
        if (!lookup_) return best;
        for (int at = before_[end]; at >= 0 && best.length < kLongest; at = before_[at]) {
            int length = 1;
            while (length < kLongest && length <= at && text_[at - length] == text_[end - length]) ++length;
            if (length > best.length) best = {at + 1, length, at + 1};
        }
        return best;
    }

    // Takes children of the newest row as leaves, but for those that no row is left for.
    void open(double chance, const Match& match, const dx_growing& how) {
        const int row = int(nodes_.size()) - 1;
        double right = 0.0;
        named_.clear();
        nodes_[row].first = int(evidence_.size());
        if (match.length) {
            const int place = match.place < int(text_.size()) ? match.place : match.begin;
            const Match next{place + 1, match.length + 1, match.begin};
            name(right, 1.0, text_[place], std::min(match.length, kMatched) - 1, DX_LOOKUP, next, how);
        }
        int first = lookup_ ? kMatched : 0;
        if (earlier_) {
            const double wrong = 1.0 - right;
            const Following found = following(row);
            for (int i = 0; i < found.count; ++i)
                name(right, wrong, found.tokens[i], first + kind(found, i), DX_EARLIER, {0, 0, 0}, how);
            first += kLengths * kOften;
        }
        const double wrong = 1.0 - right;
        if (const int64_t at = table_.contexts ? context(row) : -1; at >= 0) {
            const uint32_t* tokens = table_.tokens + at * table_.width;
            const uint8_t* chances = table_.chances + at * table_.width;
            for (int i = 0; i < table_.width && chances[i]; ++i) {
                const int part = std::min(int(chances[i] / kFull * kParts), kParts - 1);
                name(right, wrong, tokens[i], first + (order_ - 1) * kParts + part, DX_TABLE, {0, 0, 0}, how);
            }
        }
        nodes_[row].last = int(evidence_.size());
        const double least = row < how.most ? how.floors[row] : 1.0;
        for (const Named& each : named_)
            if (const double likely = chance * each.likely; likely >= least) {
                leaves_.push_back({likely, ++found_, row, each.token, each.source, each.match});
                std::push_heap(leaves_.begin(), leaves_.end());
            }
    }

    void name(double& right, double wrong, int64_t token, int kind, dx_source source, const Match& match,
              const dx_growing& how) {
        evidence_.push_back({token, kind});
        const auto same = std::find_if(named_.begin(), named_.end(), [&](const Named& n) { return n.token == token; });
        const double more = how.odds[kind] * (same == named_.end() ? wrong : 1.0 - same->likely);
        right += more;
        if (same == named_.end())
            named_.push_back({token, more, source, match});
        else
            same->likely += more;
    }

    // What followed a row's path in earlier texts.
    Following following(int row) const {
        int64_t path[Earlier::kLongest];
        int at = Earlier::kLongest;
        for (; nodes_[row].depth && at; row = nodes_[row].parent) path[--at] = nodes_[row].token;
        for (int i = int(text_.size()); i && at;) path[--at] = text_[--i];
        return earlier_->find(path + at, Earlier::kLongest - at);
    }

    // Evidence for the i-th token, by length of match (3, 4 to 7, 8 to 15, more), and in how many of four parts of all
    // places it followed; one place alone is a kind of its own.
    static int kind(const Following& found, int i) {
        const int length = found.length < 4 ? 0 : found.length < 8 ? 1 : found.length < 16 ? 2 : 3;
        return length * kOften + (found.total == 1 ? 4 : std::min(4 * found.counts[i] / found.total, 3));
    }

    // Where the table holds the longest context that a row's path ends in, else -1; `order_` says of how many tokens.
    int64_t context(int row) {
        uint64_t word = 0, keys[3];
        int count = 0;
        for (int at = row; count < 3; ++count) {
            const int beyond = count - nodes_[row].depth;  // tokens of the text before its newest
            if (beyond > 0 && beyond >= int(text_.size())) break;
            const int64_t token = beyond > 0 ? text_[text_.size() - 1 - beyond] : nodes_[at].token;
            word += uint64_t(token) * kFactors[count];
            keys[count] = (word + uint64_t(count + 1) * kOrder) >> 32;
            __builtin_prefetch(table_.keys + guess(uint32_t(keys[count])));
            if (beyond < 0) at = nodes_[at].parent;
        }
        for (; count; --count) {
            const int64_t at = find(uint32_t(keys[count - 1]));
            if (at < 0) continue;
            order_ = count;
            return at;
        }
        return -1;
    }

    // Keys are hashes: one lies about as far up the table as in its range.
    int64_t guess(uint32_t key) const { return int64_t((uint64_t(key) * uint64_t(table_.contexts)) >> 32); }

    // Where the table holds a key, else -1.
    int64_t find(uint32_t key) const {
        const int64_t last = table_.contexts - 1;
        int64_t low = guess(key), high = low, step = 16;
        for (; low > 0 && table_.keys[low] > key; step *= 2) low = std::max(low - step, int64_t(0));
        for (; high < last && table_.keys[high] < key; step *= 2) high = std::min(high + step, last);
        const uint32_t* at = std::lower_bound(table_.keys + low, table_.keys + high, key);
        return *at == key ? at - table_.keys : -1;
    }

    const bool lookup_;
    const Earlier* const earlier_;
    dx_successors table_{};
    std::vector<int64_t> text_;
    std::vector<int> before_;  // of each token, where it stood last before
    std::unordered_map<int64_t, int> last_;
    std::vector<Node> nodes_;  // by row: the text's newest token, then the tree's; none where it was judged
    std::vector<int32_t> right_, seen_;  // by kind of evidence
    std::vector<Evidence> evidence_;  // of all nodes, one after the other
    std::vector<Named> named_;        // after the newest node
    std::vector<Leaf> leaves_;        // a heap
    int found_ = 0, order_ = 0;
};

template <class Work>
int guarded(Work&& work) {
    try {
        work();
        return DX_DONE;
    } catch (const std::bad_alloc&) {
        return DX_NO_MEMORY;
    }
}

}  // namespace

extern "C" {

int dx_imagine(const dx_imagining* how, dx_imagined* to) {
    return guarded([&] { *to = Imagining(*how).all(); });
}

int dx_earlier_new(int bits, void** made) {
    return guarded([&] { *made = new Earlier(uint32_t(1) << bits); });
}
void dx_earlier_free(void* earlier) { delete static_cast<Earlier*>(earlier); }

void dx_earlier_add(void* earlier, const int64_t* tokens, int count) { static_cast<Earlier*>(earlier)->add(tokens, count); }

int dx_earlier_find(const void* earlier, const int64_t* tokens, int count, int64_t* following, int32_t* counts,
                    int32_t* total, int32_t* length) {
    const Following found = static_cast<const Earlier*>(earlier)->find(tokens, count);
    std::copy_n(found.tokens, found.count, following);
    std::copy_n(found.counts, found.count, counts);
    *total = found.total;
    *length = found.length;
    return found.count;
}

int dx_proposing_new(int lookup, const void* earlier, const dx_successors* table, void** made) {
    return guarded([&] { *made = new Proposing(lookup, static_cast<const Earlier*>(earlier), table); });
}
void dx_proposing_free(void* proposing) { delete static_cast<Proposing*>(proposing); }

int dx_propose(void* proposing, const int64_t* tokens, int count, const dx_growing* how, dx_grown* to) {
    return guarded([&] {
        auto& it = *static_cast<Proposing*>(proposing);
        it.read(tokens, count);
        if (how) it.grow(*how, *to);
    });
}

int dx_evidence(void* proposing, const int64_t* tokens, int count, int32_t* right, int32_t* seen) {
    return guarded([&] {
        auto& it = *static_cast<Proposing*>(proposing);
        it.read(tokens, count);
        it.tell(right, seen);
    });
}

}
