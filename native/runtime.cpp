// One instruction set's runtime. Compiled once for each, DYNEXIT_ISA being its name and namespace.
#include "drafting.h"

namespace DYNEXIT_ISA {
namespace {

template <class Work>
int guarded(Work&& work) {  // no exception leaves this library
    try {
        work();
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

Model& model_of(void* model) { return *static_cast<Model*>(model); }
const Model& model_of(const void* model) { return *static_cast<const Model*>(model); }
Cache& cache_of(void* cache) { return *static_cast<Cache*>(cache); }

void* model_new(const dx_shape* shape, int threads) { return new (std::nothrow) Model(*shape, threads); }
void model_free(void* model) { delete static_cast<Model*>(model); }

int64_t model_bytes(const void* model) {
    const Model& m = model_of(model);
    size_t bytes = m.head.held() + m.embedding.held();
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
        const int room = which == DX_DOWN ? m.inner() : inputs;
        const Dtype to = Dtype(m.shape.weights == DX_AS_GIVEN ? from : m.shape.weights);
        matrix_of(m, layer, which)
            .pack(rows, outputs, inputs, room, Dtype(from), to, bias, which == DX_GATE_UP, m.threads);
    });
}

int has_format(int type) { return find_codec(type) != nullptr; }

int set_blocks(void* model, int layer, int which, const dx_blocks* parts, int count, int inputs, const float* bias) {
    Model& m = model_of(model);
    return guarded([&] {
        matrix_of(m, layer, which).pack_blocks(parts, count, inputs, bias, which == DX_GATE_UP, m.threads);
    });
}

int set_vector(void* model, int layer, int which, const float* values, int count) {
    return guarded([&] { vector_of(model_of(model), layer, which).assign(values, values + count); });
}

void* cache_new(const void* model) { return new (std::nothrow) Cache(model_of(model).shape); }
void cache_free(void* cache) { delete static_cast<Cache*>(cache); }
void cache_move(void* cache, int from, int to) { cache_of(cache).move(from, to); }
int64_t cache_bytes(const void* cache) { return int64_t(static_cast<const Cache*>(cache)->bytes()); }

// Takes over a layer of another model of the same shape, or where `layer` is negative, its ends with
// the head's first `tokens`, in this model's own form.
int convert(void* model, const void* original, int layer, int tokens) {
    Model& to = model_of(model);
    const Model& from = model_of(original);
    const Dtype form = Dtype(to.shape.weights);
    return guarded([&] {
        to.original = &from;
        if (layer < 0) {
            to.head.convert(from.head, tokens, form, to.threads);
            to.final_norm = from.final_norm;
            return;
        }
        const Layer& source = from.layers[layer];
        Layer& l = to.layers[layer];
        l.qkv.convert(source.qkv, source.qkv.outputs, form, to.threads);
        l.out.convert(source.out, source.out.outputs, form, to.threads);
        l.gate_up.convert(source.gate_up, source.gate_up.outputs, form, to.threads);
        l.down.convert(source.down, source.down.outputs, form, to.threads);
        l.attention_norm = source.attention_norm;
        l.mlp_norm = source.mlp_norm;
        l.query_norm = source.query_norm;
        l.key_norm = source.key_norm;
    });
}

void set_embedding(void* model, const void* rows, int from) {
    model_of(model).table = rows;
    model_of(model).table_dtype = Dtype(from);
}

void gather(const void* model, const int64_t* tokens, int rows, float* hidden) {
    const Model& m = model_of(model);
    for (int r = 0; r < rows; ++r) m.embed(tokens[r], hidden + size_t(r) * m.shape.hidden);
}

int end_of(const dx_span& s) { return s.leaves ? s.slot + s.leaves : s.start + s.length; }

int run(void* model, const dx_span* spans, int count, float* hidden, int first, int last, const float* cos,
        const float* sin, float* states, int keep) {
    return guarded([&] {
        for (int i = 0; i < count; ++i) cache_of(spans[i].cache).reserve(end_of(spans[i]));
        Pass(model_of(model), spans, count, hidden, cos, sin).run(first, last, states, keep);
    });
}

int draft(void* model, const dx_drafting* plan, void* cache, int start, int64_t newest, const float* cos,
          const float* sin, dx_drafted* drafted) {
    return guarded([&] {
        cache_of(cache).reserve(start + plan->length + 1 + (plan->leaf_odds ? plan->length : 0));
        Drafting(model_of(model), *plan, cache_of(cache), cos, sin).run(start, newest, *drafted);
    });
}

int unembed(void* model, const float* hidden, int rows, int choosable, float* logits, int64_t* best,
            float* best_logit, float* log_sum) {
    return guarded([&] {
        Unembedding unembedding(model_of(model), hidden, rows, choosable);
        if (logits) unembedding.logits(logits);
        else unembedding.readings(best, best_logit, log_sum);
    });
}

int verify(void* model, const dx_span* span, const int64_t* tokens, float* hidden, int first, int last,
           const float* cos, const float* sin, dx_readings* to) {
    const int rows = span->length + span->leaves;
    if (tokens) gather(model, tokens, rows, hidden);
    if (const int failed = run(model, span, 1, hidden, first, last, cos, sin, nullptr, 0)) return failed;
    return unembed(model, hidden, rows, to->choosable, nullptr, to->best, to->best_logit, to->log_sum);
}

// Reads `bytes` of memory as fast as the model's threads can, for the roofline.
double stream(void* model, const void* memory, int64_t bytes) {
    const int threads = model_of(model).threads;
    std::vector<double> sums(threads);
    const int64_t lines = bytes / 256;
    Pool::lead(threads, [&](Pool& pool) {
        pool.each(threads, [&](int, int t) {
            const float* from = static_cast<const float*>(memory);
            Floats part[4] = {};
            for (int64_t i = lines * t / threads; i < lines * (t + 1) / threads; ++i)
                for (int v = 0; v < 4; ++v)
                    for (int lane = 0; lane < 16; lane += kLanes) part[v] += load(from + i * 64 + v * 16 + lane);
            sums[t] = sum(part[0] + part[1] + part[2] + part[3]);
        });
    });
    double total = 0.0;
    for (const double value : sums) total += value;
    return total;
}

}  // namespace

#define DYNEXIT_TEXT_OF(name) #name
#define DYNEXIT_TEXT(name) DYNEXIT_TEXT_OF(name)

extern const dx_runtime runtime = {
    DYNEXIT_TEXT(DYNEXIT_ISA), model_new, model_free, model_bytes, set_matrix, has_format, set_blocks, set_vector, set_embedding, convert,
    cache_new, cache_free, cache_bytes, cache_move, gather, run, draft, unembed, verify, stream,
};

}  // namespace DYNEXIT_ISA
