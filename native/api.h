// What Python sees: plain C. `src/dynexit/model/native/binding.py` mirrors it field by field.
#pragma once

#include <cstdint>

extern "C" {

enum dx_dtype { DX_BF16 = 0, DX_FP32 = 1, DX_INT8 = 2, DX_AS_GIVEN = 3, DX_FP16 = 4 };
enum dx_matrix { DX_QKV = 0, DX_OUT = 1, DX_GATE_UP = 2, DX_DOWN = 3, DX_HEAD = 4, DX_EMBEDDING = 5 };
enum dx_sublayer { DX_ATTENTION = 1, DX_MLP = 2 };  // bits: what a pass leaves out of a layer
enum dx_result { DX_DONE = 0, DX_NO_MEMORY = 1, DX_REFUSED = 2 };  // `problem` says what was refused
enum dx_vector {
    DX_ATTENTION_NORM = 0, DX_MLP_NORM = 1, DX_QUERY_NORM = 2, DX_KEY_NORM = 3, DX_FINAL_NORM = 4
};

// `weights` is how matrices are packed, `cached` how keys and values are kept (bf16 or fp32).
typedef struct {
    int32_t hidden, intermediate, layers, heads, kv_heads, head_dim, weights, cached;
    float epsilon;
} dx_shape;

// Outputs of a matrix in blocks of a GGUF type, as a file has them, or of a type of `formats/affine.h`. Where `mapped` is
// not 0, `rows` are a file's pages, never written to, which are let go once they are read: other memory would be lost.
typedef struct {
    const void* rows;
    int32_t outputs, type, mapped;
} dx_blocks;

// Tables [positions, head_dim] of positions from 0 on; the sine's first half is negated.
typedef struct {
    const float *cos, *sin;
    int32_t positions;
} dx_angles;

// Rows [first, first + length) of a sequence's round, over its cache. Row 0 stands at position `start`. Without
// `parents` each row follows the one before it. With them the rows are a tree: row i > 0 follows row
// `parents[i - 1]`, and sees it and all that it follows, nothing else. A row is at home, and keeps its keys and
// values in its own position of the cache, where its parent is and no row before it has the same parent; any
// other row i keeps them in slot `slot + i`, past all positions that are in use. Where `recent` is not 0, a chain's row sees only
// the first `sinks` positions, one at least, and the `recent` last ones, its own included.
typedef struct {
    void* cache;
    int32_t start, first, length, slot;
    const int32_t* parents;
    int32_t sinks, recent;
} dx_span;

// How to draft: a tree of up to `nodes` tokens, level by level, at most `depth` levels, by layers [0, exit_layer)
// and the head's first `limit` tokens, or draft tokens. A token has up to `ranks` children, the likeliest first. The chance that
// the target writes a child is its parent's times `odds[rank * bins + bin]`, by the likelihood of its parent's
// best child; without odds it is 1 for the best. Of a level, the likeliest are kept, child n of the tree while
// its chance is at least `row_floors[n - 1]`. The level after level n is drafted where the chances of the tokens
// that may have children sum up to at least `level_floors[n - 1]`. A token that is less likely than `threshold`,
// or one of `eos`, has no children. The last level's own layers are run only where its states are wanted.
// Where `text_tokens` is given, made by `text_tokens_new`, these tokens are read, too.
// Where `skips` is given, of which `run` tells, the draft is a chain by the sublayers that it leaves: layers
// [0, whole) lack nothing, and of the last level only these are run. `sinks` and `recent` are as in `dx_span`.
typedef struct {
    int32_t exit_layer, nodes, depth, ranks, limit, bins, num_eos, num_row_floors, num_level_floors, finish, whole;
    int32_t sinks, recent;
    float threshold;
    const float *row_floors, *level_floors, *odds;
    const int64_t* eos;
    const uint8_t* skips;
    const void* text_tokens;
} dx_drafting;

// What a draft is written to. Of each token: its id, the row of its parent (0 is the newest committed token, i + 1
// is token i), its rank among that one's children, and the likelihood of the best of these. `hidden`
// [drafted + 1, hidden size] left the exit layer for the newest token and all drafted ones; where wanted, `states`
// [drafted + 1, exit layer, hidden size] left each layer. Where sublayers are left out, `before`
// [drafted + 1, hidden size] left the whole layers before them.
typedef struct {
    int64_t* tokens;
    int32_t *parents, *ranks;
    float *confidences, *hidden, *states, *before;
    int32_t drafted;
} dx_drafted;

// What is read off rows' first `vocabulary_size` logits without writing them: the best id, its logit, and the
// logarithm of the sum of all exponentials; without `sums` 0 in its place, or what is no number where any logit is none.
typedef struct {
    int64_t* best;
    float *best_logit, *log_sum;
    int32_t vocabulary_size, sums;
} dx_readings;

// Memory to read with all threads of a model, units of 256 bytes: each reads at so many places at once (1, 2, 4
// or 8), and asks for what lies so many bytes ahead of each, where that is not 0. `mixed` is all words of 32
// bits, combined by exclusive or.
typedef struct {
    const void* memory;
    int64_t bytes, ahead;
    int32_t streams;
} dx_reading;

// One instruction set's runtime. `verify` embeds `tokens` where they are given, else goes on with `hidden`,
// which it overwrites: layers [first, last) for the rows of one span, then the head. `run` leaves out what `skips`
// says, where that is not null: one number for each layer of the model, made of `dx_sublayer`. Functions that return
// int give a `dx_result`: sizes, ids, layers, positions and slots are checked before anything is touched,
// and no exception leaves them. What pointers point to is the caller's to make large enough. `problem` is
// the sentence of the calling thread's last refusal. A matrix's rows are outputs, [outputs, inputs], bf16,
// fp32 or, where weights stay as given, fp16; or parts of it are in blocks of types for which `has_format`, which stay so. Where parts differ in
// type, all but the last have a multiple of 32 outputs. Hidden states and logits are fp32. A copy that `convert`
// has filled reads its original's embeddings, and must not outlive it. Drafts, and `unembed` with `drafts`, read the
// first of the tokens that `set_draft_tokens` has named, where these are as many as are asked for: logits are in that
// order, best ids are tokens. Tokens of one text, which are not among these, are put into room for `most` of them, next to
// the last or in place of others: `unembed` reads those of `own`, one for each row, after the others. Rows of logits are
// `width` apart, and what is not read is left as it is. A block is the keys and values of 32 positions in all layers, in a form that is the same
// for all instruction sets: `cache_save` copies one to memory of `cache_block_bytes`, and `cache_restore` back.
// `multiplied` is the dtype of products by such weights; a `tuned` runtime has vectors of this machine's own, not those that any of its kind has.
typedef struct {
    const char* name;
    const char* (*problem)(void);
    int (*model_new)(const dx_shape*, int threads, void** model);
    void (*model_free)(void*);
    int64_t (*model_bytes)(const void*);
    int (*set_matrix)(void*, int layer, int which, const void* rows, int outputs, int inputs, int from,
                      const float* bias);
    int (*has_format)(int type);
    int (*set_blocks)(void*, int layer, int which, const dx_blocks* parts, int count, int inputs, const float* bias);
    int (*set_vector)(void*, int layer, int which, const float* values, int count);
    int (*set_embedding)(void*, const void* rows, int tokens, int from);
    int (*set_draft_tokens)(void*, const int64_t* tokens, int count);
    int (*text_tokens_new)(const void* model, int most, void** made);
    void (*text_tokens_free)(void*);
    int (*text_tokens_put)(void*, const void* model, int place, const int64_t* tokens, int count);
    int (*convert)(void*, const void* original, int layer, int tokens);
    int (*cache_new)(const void* model, void** cache);
    void (*cache_free)(void*);
    int64_t (*cache_bytes)(const void*);
    int (*cache_move)(void*, int from, int to);
    int64_t (*cache_block_bytes)(const void*);
    int (*cache_save)(const void*, int block, void* to);
    int (*cache_restore)(void*, int block, const void* from);
    int (*gather)(const void*, const int64_t* tokens, int rows, float* hidden);
    int (*run)(void*, const dx_span* spans, int count, float* hidden, int first, int last,
               const dx_angles*, float* states, int keep, const uint8_t* skips);
    int (*draft)(void*, const dx_drafting*, void* cache, int start, int64_t newest, const dx_angles*, dx_drafted*);
    int (*unembed)(void*, const float* hidden, int rows, int vocabulary_size, int drafts, const void* const* own, int width,
                   float* logits, int64_t* best, float* best_logit, float* log_sum);
    int (*verify)(void*, const dx_span*, const int64_t* tokens, float* hidden, int first, int last,
                  const dx_angles*, dx_readings*);
    int (*read)(const void* model, const dx_reading*, uint32_t* mixed);
    int (*multiplied)(int weights);
    int32_t tuned;
} dx_runtime;

// Contexts by the hash of one to three tokens, ascending, and of each the `width` tokens that are likely to follow it,
// the likeliest first, with chances in 255ths: 0 where there are no more. `src/dynexit/decoding/successors.py` says more.
typedef struct {
    const uint32_t *keys, *tokens;
    const uint8_t* chances;
    int64_t contexts;
    int32_t width;
} dx_successors;

enum dx_source { DX_LOOKUP = 0, DX_TABLE = 1, DX_EARLIER = 2 };

// How far a tree of proposals grows: its n-th token is kept where its chance is at least `floors[n - 1]`, of `most`.
// `odds` are those of kinds of evidence: of lookup, by length of match, then of earlier texts, then of a table, by tokens of context and tenths
// of chance. Nothing follows one of `ends`; a chain does not branch.
typedef struct {
    const double *odds, *floors;
    const int64_t* ends;
    int32_t most, num_ends, chain;
} dx_growing;

// A tree: of each token the row of its parent, where 0 is the text's newest token, and a `dx_source`.
typedef struct {
    int64_t* tokens;
    int32_t *parents, *sources;
    double expected;  // tokens that will be accepted
    int32_t nodes, depth;
} dx_grown;

// Drafts to imagine: `draws` confidences of each, as shares of those seen so far; `ends` says where each of so many parts
// of 0 to 1 ends among these. `odds` [ranks, parts], `rows` and `levels` are those of `dx_drafting`.
typedef struct {
    const double *odds, *ends, *rows, *levels, *drawn;
    int32_t ranks, parts, num_rows, num_levels, drafts, draws;
} dx_imagining;

// Sums over all of them.
typedef struct {
    double tokens, accepted, levels;
} dx_imagined;

__attribute__((visibility("default"))) int dx_imagine(const dx_imagining* how, dx_imagined* to);

// Texts that were written before, in a window of 2^bits tokens, for any thread. `dx_earlier_find` tells what followed the
// longest match of the last of some tokens, three at least: up to four tokens and how often each followed there, how often
// anything did, and the length of the match. It returns how many tokens it tells.
__attribute__((visibility("default"))) int dx_earlier_new(int bits, void** earlier);
__attribute__((visibility("default"))) void dx_earlier_free(void* earlier);
__attribute__((visibility("default"))) void dx_earlier_add(void* earlier, const int64_t* tokens, int count);
__attribute__((visibility("default"))) int dx_earlier_find(const void* earlier, const int64_t* tokens, int count,
                                                           int64_t* following, int32_t* counts, int32_t* total,
                                                           int32_t* length);

// What is known of one text without a pass. `earlier` and `table` may be null; they, and the table's arrays, must outlive
// this. Functions that return int give a `dx_result`.
__attribute__((visibility("default"))) int dx_proposing_new(int lookup, const void* earlier, const dx_successors* table,
                                                            void** proposing);
__attribute__((visibility("default"))) void dx_proposing_free(void* proposing);
// Reads tokens that the text has gained, then grows a tree after it, unless `how` is null. There must be a token.
__attribute__((visibility("default"))) int dx_propose(void* proposing, const int64_t* tokens, int count,
                                                      const dx_growing* how, dx_grown* to);
// Reads tokens that the text has gained, then tells of each kind of evidence how often it was right and how often seen
// since this was last asked: of all trees that grew, as far as the text went on in them.
__attribute__((visibility("default"))) int dx_evidence(void* proposing, const int64_t* tokens, int count, int32_t* right,
                                                       int32_t* seen);

// The runtimes that this machine can run, fastest first; null after the last.
__attribute__((visibility("default"))) const dx_runtime* dx_runtime_at(int index);

}
