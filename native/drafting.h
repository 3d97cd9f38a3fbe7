// Writes on by the first layers alone: embed, layers, the head's first tokens, the best of them; again.
#pragma once

#include "pass.h"
#include "unembedding.h"

namespace DYNEXIT_ISA {

class Drafting {
  public:
    Drafting(const Model& model, const dx_drafting& plan, Cache& cache, const float* cos, const float* sin)
        : model_(model), plan_(plan), cache_(cache), cos_(cos), sin_(sin) {}

    // Tokens after `newest`, which stands at position `start`, and how likely each is. `hidden`
    // [drafted + 1, hidden size] leaves the exit layer for `newest` and every token; where given,
    // `states` [drafted + 1, exit layer, hidden size] leave each layer. Returns how many were drafted.
    int run(int start, int64_t newest, int64_t* tokens, float* confidences, float* hidden, float* states) const {
        const size_t size = model_.shape.hidden;
        float chance = 1.0f;
        for (int drafted = 0;; ++drafted, hidden += size) {
            const bool last =
                drafted == plan_.length || (drafted && ends(drafted, newest, confidences[drafted - 1], chance));
            if (last && !plan_.finish) return drafted;
            model_.embed(newest, hidden);
            dx_span span{&cache_, start + drafted, 1};
            Pass(model_, &span, 1, hidden, cos_, sin_).run(0, plan_.exit_layer, states, 1);
            if (states) states += plan_.exit_layer * size;
            if (last) return drafted;
            float top, log_sum;
            Unembedding(model_, hidden, 1, plan_.limit).readings(&newest, &top, &log_sum);
            tokens[drafted] = newest;
            confidences[drafted] = std::exp(top - log_sum);
            if (plan_.bins) chance *= plan_.odds[bin(confidences[drafted])];
        }
    }

  private:
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
    const float *cos_, *sin_;
};

}  // namespace DYNEXIT_ISA
