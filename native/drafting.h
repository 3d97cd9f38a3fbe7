// Writes on by the first layers alone: embed, layers, the head's first tokens, the best of them; again.
#pragma once

#include "pass.h"
#include "unembedding.h"

namespace DYNEXIT_ISA {

class Drafting {
  public:
    Drafting(const Model& model, const dx_drafting& plan, Cache& cache, const dx_angles& angles)
        : model_(model), plan_(plan), cache_(cache), angles_(angles) {}

    // Tokens after `newest`, which stands at position `start`.
    void run(int start, int64_t newest, dx_drafted& to) const {
        float chance = 1.0f;  // that all tokens so far are accepted
        bool beside = false;  // whether the newest has a leaf that is yet to run
        std::vector<float> rows(size_t(2) * model_.shape.hidden);  // of a token and its leaf
        to.leaves = 0;
        for (int& n = to.drafted = 0;; ++n) {
            const bool last = n == plan_.length || (n && ends(n, newest, to.confidences[n - 1], chance));
            if (last && !plan_.finish) break;
            pass(start, newest, beside && plan_.finish, rows.data(), to);
            if (last) break;
            float top, log_sum;
            int64_t next;
            Unembedding(model_, hidden(to, n), 1, plan_.limit).readings(&newest, &top, &log_sum, &next);
            const float confidence = to.confidences[n] = std::exp(top - log_sum);
            to.tokens[n] = newest;
            beside = plan_.leaf_odds && !to.states && chance * plan_.leaf_odds[bin(confidence)] >= plan_.leaf_floor;
            if (beside) {
                to.leaf_tokens[to.leaves] = next;
                to.leaf_places[to.leaves++] = n;
            }
            if (plan_.bins) chance *= plan_.odds[bin(confidence)];
        }
        // leaves' states follow those of tokens
        const size_t size = model_.shape.hidden;
        std::copy_n(hidden(to, plan_.length + 1), to.leaves * size, hidden(to, to.drafted + 1));
    }

  private:
    float* hidden(const dx_drafted& to, int row) const { return to.hidden + size_t(row) * model_.shape.hidden; }

    // The first layers for the newest token, which is number `to.drafted`, and for the newest leaf beside it.
    void pass(int start, int64_t newest, bool beside, float* rows, dx_drafted& to) const {
        const size_t size = model_.shape.hidden;
        const int n = to.drafted, leaf = to.leaves - 1;
        const int32_t place = 0;
        model_.embed(newest, rows);
        if (beside) model_.embed(to.leaf_tokens[leaf], rows + size);
        const dx_span span{&cache_, start + n, 1, beside, start + plan_.length + 1 + leaf, &place};
        float* states = to.states ? to.states + n * plan_.exit_layer * size : nullptr;
        Pass(model_, &span, 1, rows, angles_).run(0, plan_.exit_layer, states, 1);
        std::copy_n(rows, size, hidden(to, n));
        if (beside) std::copy_n(rows + size, size, hidden(to, plan_.length + 1 + leaf));
    }

    // Whether drafting ends with the n-th token, the chance that all of them are accepted being `chance`.
    bool ends(int n, int64_t token, float confidence, float chance) const {
        const float floor = n <= plan_.num_floors ? plan_.floors[n - 1] : 0.0f;
        const bool sure = confidence >= plan_.threshold && chance >= floor;  // false without numbers
        return !sure || std::find(plan_.eos, plan_.eos + plan_.num_eos, token) != plan_.eos + plan_.num_eos;
    }

    int bin(float confidence) const {
        return confidence > 0.0f ? std::min(int(confidence * float(plan_.bins)), plan_.bins - 1) : 0;
    }

    const Model& model_;
    const dx_drafting& plan_;
    Cache& cache_;
    const dx_angles& angles_;
};

}  // namespace DYNEXIT_ISA
