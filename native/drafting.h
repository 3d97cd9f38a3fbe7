// Writes on by the first layers alone, as a tree: embed, layers, the head's first tokens, the best of them; again.
#pragma once

#include "pass.h"
#include "unembedding.h"

namespace DYNEXIT_ISA {

class Drafting {
  public:
    Drafting(const Model& model, const dx_drafting& plan, Cache& cache, int start, const dx_angles& angles)
        : model_(model), plan_(plan), cache_(cache), start_(start), slot_(start + plan.nodes + 1), angles_(angles) {
        cache.reserve(plan.ranks > 1 ? slot_ + plan.nodes + 1 : slot_);
    }

    // Tokens after `newest`. Rows are the newest token's, number 0, and those of drafted tokens.
    void run(int64_t newest, dx_drafted& to) const {
        std::vector<float> chances{1.0f};  // of each row
        std::vector<int> open{0};  // rows of the level that may have children
        to.drafted = 0;
        model_.embed(newest, to.hidden);
        for (int level = 0, first = 0; first <= to.drafted; ++level) {
            const bool last = over(level, open, chances, to.drafted);
            if (last && !plan_.finish) break;
            const int next = to.drafted + 1;
            pass(first, next - first, last, to);
            if (last) break;
            first = next;
            grow(open, chances, to);
        }
    }

  private:
    struct Child {
        float chance, likelihood, best;  // its own likelihood, and that of its parent's best child
        int parent, rank;
        int64_t token;
    };

    // Whether no further level is drafted.
    bool over(int level, const std::vector<int>& open, const std::vector<float>& chances, int drafted) const {
        if (level == plan_.depth || drafted == plan_.nodes || open.empty()) return true;
        float total = 0.0f;
        for (const int row : open) total += chances[row];
        return level && level <= plan_.num_level_floors && !(total >= plan_.level_floors[level - 1]);
    }

    // The first layers for `count` rows from `first`.
    void pass(int first, int count, bool last, dx_drafted& to) const {
        const size_t size = model_.shape.hidden;
        const dx_span span{&cache_, start_, first, count, slot_, plan_.ranks > 1 ? to.parents : nullptr, plan_.sinks, plan_.recent};
        float* states = to.states ? to.states + first * plan_.exit_layer * size : nullptr;
        float* hidden = to.hidden + first * size;
        Pass pass(model_, &span, 1, hidden, angles_);
        if (!plan_.skips) return pass.run(0, plan_.exit_layer, states, 1);
        pass.run(0, plan_.whole, nullptr, 0);
        std::copy_n(hidden, count * size, to.before + first * size);
        if (!last) pass.run(plan_.whole, plan_.exit_layer, nullptr, 0, plan_.skips);
    }

    // Adds the children of `open` rows that are worth it, and makes `open` those of them that may have children.
    void grow(std::vector<int>& open, std::vector<float>& chances, dx_drafted& to) const {
        std::vector<Child> children = plan_.ranks > 1 ? find<kMostRanks>(open, chances, to) : find<1>(open, chances, to);
        std::stable_sort(children.begin(), children.end(),
                         [](const Child& a, const Child& b) { return a.chance > b.chance; });
        open.clear();
        for (const Child& child : children) {
            const int n = to.drafted;
            if (n == plan_.nodes || (n < plan_.num_row_floors && !(child.chance >= plan_.row_floors[n]))) break;
            to.tokens[n] = child.token;
            to.parents[n] = child.parent;
            to.ranks[n] = child.rank;
            to.confidences[n] = child.best;
            chances.push_back(child.chance);
            model_.embed(child.token, to.hidden + size_t(n + 1) * model_.shape.hidden);
            to.drafted = n + 1;
            if (child.likelihood >= plan_.threshold && !ends(child.token)) open.push_back(n + 1);
        }
    }

    // Candidates, in the order of their parents and ranks.
    template <int kRanks>
    std::vector<Child> find(const std::vector<int>& open, const std::vector<float>& chances, const dx_drafted& to) const {
        const size_t size = model_.shape.hidden;
        std::vector<float> rows(open.size() * size);
        for (size_t i = 0; i < open.size(); ++i) std::copy_n(to.hidden + open[i] * size, size, &rows[i * size]);
        const std::vector<const TextTokens*> own(open.size(), static_cast<const TextTokens*>(plan_.text_tokens));
        Unembedding unembedding(model_, rows.data(), int(open.size()), plan_.limit, true, plan_.text_tokens ? own.data() : nullptr);
        const auto found = unembedding.read_off<Reading<kRanks>>();
        std::vector<Child> children;
        for (size_t i = 0; i < open.size(); ++i) {
            const float log_sum = found[i].log_sum(), best = std::exp(found[i].logits[0] - log_sum);
            if (!(best >= 0.0f)) continue;  // logits that are no numbers: no children
            for (int r = 0; r < std::min(kRanks, plan_.ranks) && found[i].logits[r] > -INFINITY; ++r)
                children.push_back({chances[open[i]] * odds(r, best), std::exp(found[i].logits[r] - log_sum), best,
                                    open[i], r, unembedding.token(int(i), found[i].ids[r])});
        }
        return children;
    }

    float odds(int rank, float best) const {
        if (!plan_.bins) return 1.0f;
        return plan_.odds[rank * plan_.bins + std::clamp(int(best * float(plan_.bins)), 0, plan_.bins - 1)];
    }

    bool ends(int64_t token) const { return std::find(plan_.eos, plan_.eos + plan_.num_eos, token) != plan_.eos + plan_.num_eos; }

    const Model& model_;
    const dx_drafting& plan_;
    Cache& cache_;
    const int start_, slot_;
    const dx_angles& angles_;
};

}  // namespace DYNEXIT_ISA
