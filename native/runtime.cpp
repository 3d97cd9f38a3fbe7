// One instruction set's runtime. Compiled once for each, DYNEXIT_ISA being its name and namespace.
#include <cstdio>

#include "checks.h"
#include "drafting.h"
#include "reading.h"

namespace DYNEXIT_ISA {
namespace {

thread_local char sentence[256];  // of this thread's last refusal

const char* problem() { return sentence; }

template <class Work>
int guarded(Work&& work) {  // no exception leaves this library
    try {
        work();
        return DX_DONE;
    } catch (const std::bad_alloc&) {
        return DX_NO_MEMORY;
    } catch (const std::length_error&) {  // more than any memory holds
        return DX_NO_MEMORY;
    } catch (const std::exception& error) {
        std::snprintf(sentence, sizeof sentence, "%s", error.what());
        return DX_REFUSED;
    }
}

Model& model_of(void* model) { return *static_cast<Model*>(model); }
const Model& model_of(const void* model) { return *static_cast<const Model*>(model); }
Cache& cache_of(void* cache) { return *static_cast<Cache*>(cache); }

int model_new(const dx_shape* shape, int threads, void** model) {
    return guarded([&] {
        check_shape(*shape, threads);
        *model = new Model(*shape, threads);
    });
}
void model_free(void* model) { delete static_cast<Model*>(model); }

int64_t model_bytes(const void* model) {
    const Model& m = model_of(model);
    size_t bytes = m.head.held() + m.embedding.held() + m.draft_head.held();
    for (const Layer& l : m.layers)
        for (const PackedMatrix* p : {&l.qkv, &l.out, &l.gate_up, &l.down}) bytes += p->held();
    return int64_t(bytes);
}

PackedMatrix& matrix_of(Model& m, int layer, int which) {
    switch (which) {
        case DX_QKV: return m.layers[layer].qkv;
        case DX_OUT: return m.layers[layer].out;
        case DX_GATE_UP: return m.layers[layer].gate_up;
        case DX_DOWN: return m.layers[layer].down;
        case DX_EMBEDDING: return m.embedding;
        default: return m.head;
    }
}

std::vector<float>& vector_of(Model& m, int layer, int which) {
    switch (which) {
        case DX_ATTENTION_NORM: return m.layers[layer].attention_norm;
        case DX_MLP_NORM: return m.layers[layer].mlp_norm;
        case DX_QUERY_NORM: return m.layers[layer].query_norm;
        case DX_KEY_NORM: return m.layers[layer].key_norm;
        default: return m.final_norm;
    }
}

int set_matrix(void* model, int layer, int which, const void* rows, int outputs, int inputs, int from,
               const float* bias) {
    Model& m = model_of(model);
    return guarded([&] {
        check_layer(m, layer);
        check_matrix(m, which, outputs, inputs);
        check_tensor(rows, from);
        const int room = which == DX_DOWN ? m.inner() : inputs;
        const Dtype to = Dtype(m.shape.weights == DX_AS_GIVEN ? from : m.shape.weights);
        matrix_of(m, layer, which)
            .pack(rows, outputs, inputs, room, Dtype(from), to, bias, which == DX_GATE_UP, m.arena, m.threads);
    });
}

int has_format(int type) { return find_codec(type) != nullptr; }

int set_blocks(void* model, int layer, int which, const dx_blocks* parts, int count, int inputs, const float* bias) {
    Model& m = model_of(model);
    return guarded([&] {
        check_layer(m, layer);
        check_blocks(m, which, parts, count, inputs);
        matrix_of(m, layer, which).pack_blocks(parts, count, inputs, bias, which == DX_GATE_UP, m.arena, m.threads);
    });
}

int set_vector(void* model, int layer, int which, const float* values, int count) {
    Model& m = model_of(model);
    return guarded([&] {
        check_layer(m, layer);
        check_vector(m, which, values, count);
        vector_of(m, layer, which).assign(values, values + count);
    });
}

int cache_new(const void* model, void** cache) {
    return guarded([&] { *cache = new Cache(model_of(model).shape); });
}

void cache_free(void* cache) { delete static_cast<Cache*>(cache); }

int cache_move(void* cache, int from, int to) {
    return guarded([&] {
        const int capacity = cache_of(cache).capacity();
        require(from >= 0 && to >= 0 && from < capacity && to < capacity, "slots ", from, " and ", to,
                " are not among ", capacity, ".");
        cache_of(cache).move(from, to);
    });
}

int64_t cache_bytes(const void* cache) { return int64_t(static_cast<const Cache*>(cache)->bytes()); }

int64_t cache_block_bytes(const void* cache) { return int64_t(static_cast<const Cache*>(cache)->block_bytes()); }

int cache_save(const void* cache, int block, void* to) {
    return guarded([&] {
        const Cache& from = *static_cast<const Cache*>(cache);
        check_block(block, from.capacity() / kGroup);
        from.save(block, static_cast<char*>(to));
    });
}

int cache_restore(void* cache, int block, const void* from) {
    return guarded([&] {
        check_block(block, kMost / kGroup);
        cache_of(cache).reserve((block + 1) * kGroup);
        cache_of(cache).restore(block, static_cast<const char*>(from));
    });
}

// Takes over a layer of another model of the same shape, or where `layer` is negative, its ends with
// the head's first `tokens`, in this model's own form.
int convert(void* model, const void* original, int layer, int tokens) {
    Model& to = model_of(model);
    const Model& from = model_of(original);
    const Dtype form = Dtype(to.shape.weights);
    return guarded([&] {
        check_copy(to, from, layer, tokens);
        to.original = &from;
        if (layer < 0) {
            to.head.convert(from.head, tokens, form, to.arena, to.threads);
            if (!from.draft_tokens.empty()) to.draft_by(from.draft_tokens, from.head, form);
            to.final_norm = from.final_norm;
            return;
        }
        const Layer& source = from.layers[layer];
        Layer& l = to.layers[layer];
        l.qkv.convert(source.qkv, source.qkv.outputs, form, to.arena, to.threads);
        l.out.convert(source.out, source.out.outputs, form, to.arena, to.threads);
        l.gate_up.convert(source.gate_up, source.gate_up.outputs, form, to.arena, to.threads);
        l.down.convert(source.down, source.down.outputs, form, to.arena, to.threads);
        l.attention_norm = source.attention_norm;
        l.mlp_norm = source.mlp_norm;
        l.query_norm = source.query_norm;
        l.key_norm = source.key_norm;
    });
}

// Drafts read these tokens of the head.
int set_draft_tokens(void* model, const int64_t* tokens, int count) {
    Model& m = model_of(model);
    return guarded([&] {
        check_head(m, 1, count);
        check_tokens(m, tokens, count);
        m.draft_by({tokens, tokens + count}, m.head, m.head.quantised ? Dtype::int8 : m.head.dtype);
    });
}

TextTokens& text_tokens_of(void* own) { return *static_cast<TextTokens*>(own); }

int text_tokens_new(const void* model, int most, void** made) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_head(m, 1, 1);
        require(most >= 1 && most <= m.head.outputs, "a text cannot have room for ", most, " tokens.");
        *made = new TextTokens(m, most);
    });
}

void text_tokens_free(void* own) { delete static_cast<TextTokens*>(own); }

int text_tokens_put(void* own, const void* model, int place, const int64_t* tokens, int count) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_text_tokens(m, own);
        check_head(m, 1, 1);
        TextTokens& to = text_tokens_of(own);
        require(place >= 0 && count >= 0 && place <= int(to.tokens.size()) && count <= to.most - place,
                "tokens of a text cannot be put at ", place, ".");
        for (int i = 0; i < count; ++i)
            require(tokens[i] >= 0 && tokens[i] < m.head.outputs, "token id ", tokens[i], " is outside the head.");
        to.put(m, place, tokens, count);
    });
}

int set_embedding(void* model, const void* rows, int tokens, int from) {
    Model& m = model_of(model);
    return guarded([&] {
        check_tensor(rows, from);
        require(tokens >= 1, "a table of embeddings has no tokens.");
        m.table = rows;
        m.table_tokens = tokens;
        m.table_dtype = Dtype(from);
    });
}

void embed_rows(const Model& m, const int64_t* tokens, int rows, float* hidden) {
    check_tokens(m, tokens, rows);
    for (int r = 0; r < rows; ++r) m.embed(tokens[r], hidden + size_t(r) * m.shape.hidden);
}

int gather(const void* model, const int64_t* tokens, int rows, float* hidden) {
    return guarded([&] { embed_rows(model_of(model), tokens, rows, hidden); });
}

int end_of(const dx_span& s) { return (s.parents ? s.slot : s.start) + s.first + s.length; }

void run_layers(const Model& m, const dx_span* spans, int count, float* hidden, int first, int last,
                const dx_angles& angles, float* states, int keep, const uint8_t* skips = nullptr) {
    for (int i = 0; i < count; ++i) cache_of(spans[i].cache).reserve(end_of(spans[i]));
    Pass(m, spans, count, hidden, angles).run(first, last, states, keep, skips);
}

int run(void* model, const dx_span* spans, int count, float* hidden, int first, int last,
        const dx_angles* angles, float* states, int keep, const uint8_t* skips) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_layers(m, first, last);
        const int64_t rows = check_spans(m, spans, count, *angles);
        require(!states || (keep >= 0 && keep <= rows), keep, " of ", rows, " rows cannot be kept.");
        run_layers(m, spans, count, hidden, first, last, *angles, states, keep, skips);
    });
}

int draft(void* model, const dx_drafting* plan, void* cache, int start, int64_t newest, const dx_angles* angles,
          dx_drafted* drafted) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_drafting(m, *plan, cache, start, *angles);
        check_tokens(m, &newest, 1);
        Drafting(m, *plan, cache_of(cache), start, *angles).run(newest, *drafted);
    });
}

int unembed(void* model, const float* hidden, int rows, int vocabulary_size, int drafts, const void* const* own, int width,
            float* logits, int64_t* best, float* best_logit, float* log_sum) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_head(m, rows, vocabulary_size);
        for (int r = 0; own && r < rows; ++r) check_text_tokens(m, own[r]);
        Unembedding unembedding(m, hidden, rows, vocabulary_size, drafts, reinterpret_cast<const TextTokens* const*>(own));
        if (logits) unembedding.logits(logits, width);
        else unembedding.readings(best, best_logit, log_sum);
    });
}

int verify(void* model, const dx_span* span, const int64_t* tokens, float* hidden, int first, int last,
           const dx_angles* angles, dx_readings* to) {
    const Model& m = model_of(model);
    return guarded([&] {
        check_layers(m, first, last);
        const int rows = int(check_spans(m, span, 1, *angles));
        check_head(m, rows, to->vocabulary_size);
        if (tokens) embed_rows(m, tokens, rows, hidden);
        run_layers(m, span, 1, hidden, first, last, *angles, nullptr, 0);
        Unembedding unembedding(m, hidden, rows, to->vocabulary_size);
        if (to->sums) unembedding.readings(to->best, to->best_logit, to->log_sum);
        else unembedding.best(to->best, to->best_logit, to->log_sum);
    });
}

int read(const void* model, const dx_reading* how, uint32_t* mixed) {
    return guarded([&] {
        check_reading(*how);
        *mixed = mixed_by(model_of(model).threads, static_cast<const char*>(how->memory), how->bytes / kUnit,
                          how->streams, how->ahead);
    });
}

// In what a matrix of such weights is multiplied: what they are widened to, or their inputs narrowed to.
int multiplied(int weights) {
    if (weights == DX_AS_GIVEN) return DX_INT8;
    return weights == DX_BF16 && kDots ? DX_BF16 : DX_FP32;
}

}  // namespace

#define DYNEXIT_TEXT_OF(name) #name
#define DYNEXIT_TEXT(name) DYNEXIT_TEXT_OF(name)

extern const dx_runtime runtime = {
    DYNEXIT_TEXT(DYNEXIT_ISA), problem, model_new, model_free, model_bytes, set_matrix, has_format, set_blocks,
    set_vector, set_embedding, set_draft_tokens, text_tokens_new, text_tokens_free, text_tokens_put, convert,
    cache_new, cache_free, cache_bytes, cache_move, cache_block_bytes, cache_save, cache_restore, gather, run, draft,
    unembed, verify, read,
    multiplied, kTuned,
};

}  // namespace DYNEXIT_ISA
