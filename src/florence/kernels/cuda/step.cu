// One step of the decoder: a token of every row, where a row is a beam of an input. What differs between inputs (lengths, beams,
// where their caches lie) is read from a description in device memory, so that one recorded graph serves them all.
#include "common.cuh"

// ---- the description of a step; step/plan.rs writes it -------------------------------------------------------------------------

struct Row {
    uint32_t token, position;
    int32_t input; // -1: nobody's
    uint32_t beam;
    float score;             // running sum of log-probabilities
    uint32_t take;           // candidates wanted, 0 for none
    uint32_t bans, ban_count; // tokens that may not come: where they begin, in bytes from the description's start
    uint32_t ancestry;       // in whose place each earlier token was written, a byte each: likewise
    uint32_t reserved[3];
};

struct Input {
    unsigned long long own;   // [layers, capacity, beams, 2, width]
    unsigned long long cross; // [layers, positions, 2, width]
    uint32_t capacity, beams;
    uint32_t length; // tokens that were written before this one
    uint32_t positions, first_row, splits;
    uint32_t reserved[2];
};

// Splits of the inputs' positions: the input's number in the upper half, the split's in the lower.
struct Items {
    uint32_t count, reserved[3];
    uint32_t list[];
};

constexpr int WIDE = 64;         // width of a head in the quick kernels
constexpr int SPLIT = 128;       // positions of an input that a block attends to
constexpr int TOGETHER = 4;      // beams that share a pass over keys and values
constexpr int PART = 2 + WIDE;   // what a split leaves behind: greatest score, sum of weights, weighted sum of values
constexpr int MOST_TAKEN = 32;   // candidates of a row
constexpr int LANE_VALUES = 8;

// ---- embedding -----------------------------------------------------------------------------------------------------------------

// hidden = norm(tokens[token] + positions[position + offset]), a block for each row.
template <typename T>
__device__ void embed_row(const Row *rows, const T *tokens, const T *positions, const T *weight, const T *bias, T *hidden,
                          int width, int offset) {
    __shared__ float room[33];
    const Row row = rows[blockIdx.x];
    T *target = hidden + static_cast<size_t>(blockIdx.x) * width;
    if (row.input < 0) {
        for (int i = threadIdx.x; i < width; i += blockDim.x) target[i] = from_float<T>(0.f);
        return;
    }
    const T *token = tokens + static_cast<size_t>(row.token) * width;
    const T *position = positions + static_cast<size_t>(row.position + offset) * width;
    const auto value = [&](int i) { return to_float(token[i]) + to_float(position[i]); };
    float sum = 0.f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += value(i);
    const float mean = block_sum(sum, room) / width;
    float squares = 0.f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (value(i) - mean) * (value(i) - mean);
    const float scale = rsqrtf(block_sum(squares, room) / width + 1e-5f);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        target[i] = from_float<T>((value(i) - mean) * scale * to_float(weight[i]) + to_float(bias[i]));
}

#define EMBED(SUFFIX, TYPE)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) step_embed_##SUFFIX(                                             \
        const Row *rows, const TYPE *tokens, const TYPE *positions, const TYPE *weight, const TYPE *bias, TYPE *hidden, \
        int width, int offset) {                                                                                       \
        embed_row(rows, tokens, positions, weight, bias, hidden, width, offset);                                       \
    }
FOR_FLOATS(EMBED)

// ---- products with few rows ------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float gelu(float value) { return 0.5f * value * (1.f + erff(value * 0.70710678118654752f)); }

// y = x wᵀ + bias, then GELU if wanted. x [rows, inner] of whole tiles of 16 TILES rows, w [outer, inner], y [rows, outer].
//
// Weights are read once and at full width, straight into the tensor cores' registers; eight warps share the inner axis and add
// up at the end. A row's sums are taken in the same order whatever rows stand beside it.
template <typename T, int TILES, int COLUMNS, int AHEAD>
__device__ __forceinline__ void multiply_few(const T *x, const T *w, const T *bias, T *y, int outer, int inner, int is_gelu) {
    constexpr int ROWS = 16 * TILES, WIDTH = 8 * COLUMNS, WARPS = 8;
    __shared__ float partial[WARPS][ROWS * WIDTH];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    const int column = blockIdx.x * WIDTH, first = blockIdx.y * ROWS;
    const T *weights[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
        weights[i] = w + static_cast<size_t>(min(column + i * 8 + row, outer - 1)) * inner + pair * 8;
    const T *input = x + static_cast<size_t>(first + row) * inner + pair * 8;
    float sum[TILES][COLUMNS][4] = {};
    // AHEAD steps of the warps at a time, so that as many reads are under way together.
    for (int start = warp * 32; start < inner; start += AHEAD * WARPS * 32) {
        uint4 right[AHEAD][COLUMNS];
#pragma unroll
        for (int step = 0; step < AHEAD; step++)
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) right[step][i] = load_streamed(weights[i] + start + step * WARPS * 32);
#pragma unroll
        for (int step = 0; step < AHEAD; step++)
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
                const T *at = input + static_cast<size_t>(tile) * 16 * inner + start + step * WARPS * 32;
                const uint4 top = *reinterpret_cast<const uint4 *>(at);
                const uint4 bottom = *reinterpret_cast<const uint4 *>(at + static_cast<size_t>(8) * inner);
#pragma unroll
                for (int i = 0; i < COLUMNS; i++) multiply_add_32<T>(sum[tile][i], top, bottom, right[step][i]);
            }
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                *reinterpret_cast<float2 *>(&partial[warp][(tile * 16 + row + j * 8) * WIDTH + i * 8 + pair * 2]) =
                    make_float2(sum[tile][i][2 * j], sum[tile][i][2 * j + 1]);
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * WIDTH; i += blockDim.x) {
        const int target = column + i % WIDTH;
        float value = 0.f;
#pragma unroll
        for (int j = 0; j < WARPS; j++) value += partial[j][i];
        if (target >= outer) continue;
        value += to_float(bias[target]);
        if (is_gelu) value = gelu(value);
        y[static_cast<size_t>(first + i / WIDTH) * outer + target] = from_float<T>(value);
    }
}

#define MULTIPLY(SUFFIX, TYPE, TILES, COLUMNS, AHEAD)                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 2) step_multiply_##TILES##_##COLUMNS##_##AHEAD##_##SUFFIX(       \
        const TYPE *x, const TYPE *w, const TYPE *bias, TYPE *y, int outer, int inner, int is_gelu) {                  \
        multiply_few<TYPE, TILES, COLUMNS, AHEAD>(x, w, bias, y, outer, inner, is_gelu);                               \
    }
#define MULTIPLY_TILES(SUFFIX, TYPE, COLUMNS, AHEAD)                                                                   \
    MULTIPLY(SUFFIX, TYPE, 1, COLUMNS, AHEAD)                                                                          \
    MULTIPLY(SUFFIX, TYPE, 2, COLUMNS, AHEAD)                                                                          \
    MULTIPLY(SUFFIX, TYPE, 3, COLUMNS, AHEAD)                                                                          \
    MULTIPLY(SUFFIX, TYPE, 4, COLUMNS, AHEAD)
#define MULTIPLIES(SUFFIX, TYPE)                                                                                       \
    MULTIPLY_TILES(SUFFIX, TYPE, 1, 3)                                                                                 \
    MULTIPLY_TILES(SUFFIX, TYPE, 1, 4)                                                                                 \
    MULTIPLY_TILES(SUFFIX, TYPE, 2, 3)                                                                                 \
    MULTIPLY_TILES(SUFFIX, TYPE, 2, 4)
FOR_HALVES(MULTIPLIES)

// The same for any sizes, and for logits in f32: a warp for each value.
template <typename T, typename Out>
__device__ void multiply_any(const T *x, const T *w, const T *bias, Out *y, int outer, int inner, int stride, int is_gelu) {
    const int column = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, row = blockIdx.y, lane = threadIdx.x % 32;
    if (column >= outer) return;
    float sum = 0.f;
    for (int i = lane; i < inner; i += 32)
        sum += to_float(x[static_cast<size_t>(row) * inner + i]) * to_float(w[static_cast<size_t>(column) * inner + i]);
    sum = lane_sum<32>(sum) + (bias ? to_float(bias[column]) : 0.f);
    if (lane == 0) y[static_cast<size_t>(row) * stride + column] = from_float<Out>(is_gelu ? gelu(sum) : sum);
}

#define MULTIPLY_ANY(SUFFIX, TYPE)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) step_multiply_any_##SUFFIX(                                      \
        const TYPE *x, const TYPE *w, const TYPE *bias, TYPE *y, int outer, int inner, int stride, int is_gelu) {      \
        multiply_any(x, w, bias, y, outer, inner, stride, is_gelu);                                                    \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) step_logits_any_##SUFFIX(                                        \
        const TYPE *x, const TYPE *w, const TYPE *bias, float *y, int outer, int inner, int stride, int is_gelu) {     \
        multiply_any(x, w, bias, y, outer, inner, stride, is_gelu);                                                    \
    }
FOR_FLOATS(MULTIPLY_ANY)

// ---- logits ------------------------------------------------------------------------------------------------------------------------

constexpr int SLICE = 128;             // of the inner axis, in shared memory at a time
constexpr int SLICE_ROW = SLICE + 32;  // so that neighbouring rows lie in other banks
constexpr int WORDS = 16;              // tokens of a warp

// logits [rows, stride] = x tableᵀ + bias, in f32. Each of eight warps has sixteen tokens of its own and the whole inner axis, a
// multiple of SLICE; x comes through shared memory, the table straight into registers.
template <typename T, int TILES>
__device__ __forceinline__ void multiply_table(const T *x, const T *table, const T *bias, float *logits, int tokens,
                                               int inner, int stride) {
    constexpr int ROWS = 16 * TILES, STEPS = SLICE / 32, COLUMNS = WORDS / 8;
    __shared__ __align__(16) T slices[2][ROWS * SLICE_ROW];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    // Blocks of the same tokens and other rows follow each other, so that the table comes from memory once.
    const int first = blockIdx.x * ROWS, token = (blockIdx.y * 8 + warp) * WORDS;
    const T *weights[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
        weights[i] = table + static_cast<size_t>(min(token + i * 8 + row, tokens - 1)) * inner + pair * 8;
    const T *input = x + static_cast<size_t>(first) * inner;
    const auto copy = [&](int slice) {
        for (int i = threadIdx.x; i < ROWS * SLICE / 8; i += blockDim.x) {
            const int line = i / (SLICE / 8), eighth = i % (SLICE / 8);
            copy_async(slices[slice % 2] + line * SLICE_ROW + eighth * 8,
                       input + static_cast<size_t>(line) * inner + slice * SLICE + eighth * 8, true);
        }
        commit_copies();
    };
    uint4 next[STEPS][COLUMNS];
    const auto fetch = [&](int slice) {
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) next[step][i] = load_streamed(weights[i] + slice * SLICE + step * 32);
    };
    float sum[TILES][COLUMNS][4] = {};
    const int slices_in_all = inner / SLICE;
    copy(0);
    fetch(0);
    for (int slice = 0; slice < slices_in_all; slice++) {
        uint4 right[STEPS][COLUMNS];
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) right[step][i] = next[step][i];
        if (slice + 1 < slices_in_all) {
            copy(slice + 1);
            fetch(slice + 1);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
                const T *at = slices[slice % 2] + (tile * 16 + row) * SLICE_ROW + step * 32 + pair * 8;
                const uint4 top = *reinterpret_cast<const uint4 *>(at);
                const uint4 bottom = *reinterpret_cast<const uint4 *>(at + 8 * SLICE_ROW);
#pragma unroll
                for (int i = 0; i < COLUMNS; i++) multiply_add_32<T>(sum[tile][i], top, bottom, right[step][i]);
            }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int target = token + i * 8 + pair * 2 + k;
            if (target >= tokens) continue;
            const float more = bias ? to_float(bias[target]) : 0.f;
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                for (int j = 0; j < 2; j++)
                    logits[static_cast<size_t>(first + tile * 16 + row + j * 8) * stride + target] =
                        sum[tile][i][2 * j + k] + more;
        }
}

#define LOGITS(SUFFIX, TYPE, TILES)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256, 2) step_logits_##TILES##_##SUFFIX(                               \
        const TYPE *x, const TYPE *table, const TYPE *bias, float *logits, int tokens, int inner, int stride) {        \
        multiply_table<TYPE, TILES>(x, table, bias, logits, tokens, inner, stride);                                    \
    }
#define ALL_LOGITS(SUFFIX, TYPE)                                                                                       \
    LOGITS(SUFFIX, TYPE, 1)                                                                                            \
    LOGITS(SUFFIX, TYPE, 2)                                                                                            \
    LOGITS(SUFFIX, TYPE, 3)                                                                                            \
    LOGITS(SUFFIX, TYPE, 4)
FOR_HALVES(ALL_LOGITS)

// ---- attention to what was written -----------------------------------------------------------------------------------------------

// A block for each head and row. The new token's keys and values come from qkv [rows, 3, heads, 64] and are written to the cache
// on the way; those of earlier tokens lie where the ancestor wrote them.
template <typename T>
__device__ __forceinline__ void attend_own(const unsigned char *description, const Row *rows, const Input *inputs,
                                           const T *qkv, T *out, int layer, int heads) {
    constexpr int GROUPS = 16, AT_ONCE = 4; // groups of eight lanes; keys that each has under way
    __shared__ float most_of[GROUPS], sum_of[GROUPS], attended_of[GROUPS][WIDE];
    const int head = blockIdx.x, width = heads * WIDE;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) return;
    const Input input = inputs[row.input];
    const int group = threadIdx.x / 8, eighth = threadIdx.x % 8 * 8;
    const T *own = qkv + static_cast<size_t>(blockIdx.y) * 3 * width + head * WIDE + eighth;
    T *cache = reinterpret_cast<T *>(input.own) + head * WIDE + eighth;
    const unsigned char *ancestry = description + row.ancestry;
    float query[8], attended[8] = {}, most = -INFINITY, sum = 0.f;
    load8(own, query);
    const float factor = rsqrtf(static_cast<float>(WIDE)) * LOG2_E;
#pragma unroll
    for (int j = 0; j < 8; j++) query[j] *= factor;
    const auto score_of = [&](const float(&key)[8]) {
        float score = 0.f;
#pragma unroll
        for (int j = 0; j < 8; j++) score = fmaf(query[j], key[j], score);
        return lane_sum<8>(score);
    };
    const int length = static_cast<int>(input.length);
    for (int start = 0; start < length; start += GROUPS * AT_ONCE) {
        float keys[AT_ONCE][8], values[AT_ONCE][8], scores[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            // Beyond the end the last token is read again and given no weight.
            const int token = min(start + i * GROUPS + group, length - 1);
            const T *at = cache + own_offset(layer, token, ancestry[token], input.capacity, input.beams, width);
            load8(at, keys[i]);
            load8(at + width, values[i]);
        }
        float now = most;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            scores[i] = score_of(keys[i]);
            if (start + i * GROUPS + group >= length) scores[i] = -INFINITY;
            now = fmaxf(now, scores[i]);
        }
        if (now > -INFINITY) {
            const float fading = exp2f(most - now);
            sum *= fading;
#pragma unroll
            for (int j = 0; j < 8; j++) attended[j] *= fading;
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                const float weight = exp2f(scores[i] - now);
                sum += weight;
#pragma unroll
                for (int j = 0; j < 8; j++) attended[j] = fmaf(weight, values[i][j], attended[j]);
            }
            most = now;
        }
    }
    // The new token belongs to the first group; all lanes of its warp take part in the sum.
    float key[8], value[8];
    load8(own + width, key);
    load8(own + 2 * width, value);
    const float score = score_of(key);
    if (group == 0) {
        const float now = fmaxf(most, score), fading = exp2f(most - now), weight = exp2f(score - now);
        sum = sum * fading + weight;
#pragma unroll
        for (int j = 0; j < 8; j++) attended[j] = attended[j] * fading + weight * value[j];
        most = now;
        T *at = cache + own_offset(layer, length, row.beam, input.capacity, input.beams, width);
        store8(at, key);
        store8(at + width, value);
    }
    if (eighth == 0) most_of[group] = most, sum_of[group] = sum;
#pragma unroll
    for (int j = 0; j < 8; j++) attended_of[group][eighth + j] = attended[j];
    __syncthreads();
    if (threadIdx.x >= WIDE) return;
    float greatest = most_of[0];
    for (int i = 1; i < GROUPS; i++) greatest = fmaxf(greatest, most_of[i]);
    float total = 0.f, result = 0.f;
    for (int i = 0; i < GROUPS; i++) {
        const float weight = exp2f(most_of[i] - greatest);
        total += weight * sum_of[i];
        result += weight * attended_of[i][threadIdx.x];
    }
    out[static_cast<size_t>(blockIdx.y) * width + head * WIDE + threadIdx.x] = from_float<T>(result / total);
}

// ---- attention to the input ------------------------------------------------------------------------------------------------------

// Each block takes splits of inputs' positions in turn, for one head and all of the input's beams, so keys and values are read once.
// The last split of an input to be ready adds up what all of them left in `parts` [rows, heads, most_splits, PART].
template <typename T>
__device__ __forceinline__ void attend_cross(const Input *inputs, const Items *items, const T *queries, T *out, float *parts,
                                             int *arrived, int layer, int heads, int most_splits) {
    constexpr int PASSES = SPLIT / 16;
    __shared__ float weights[TOGETHER][SPLIT], stats[TOGETHER][2], attended_of[4][TOGETHER][WIDE];
    __shared__ bool is_last;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = threadIdx.x / 8, eighth = threadIdx.x % 8 * 8;
    const int width = heads * WIDE, count = static_cast<int>(items->count) * heads;
    const float factor = rsqrtf(static_cast<float>(WIDE)) * LOG2_E;
    for (int work = blockIdx.x; work < count; work += gridDim.x) {
        const int head = work % heads;
        const uint32_t item = items->list[work / heads];
        const int number = static_cast<int>(item >> 16), split = static_cast<int>(item & 0xffff);
        const Input input = inputs[number];
        const int first = split * SPLIT, end = chunk_end(split, SPLIT, input.positions);
        const T *cache = reinterpret_cast<const T *>(input.cross) + head * WIDE + eighth +
                         cross_offset(layer, 0, input.positions, width);
        for (int beam = 0; beam < static_cast<int>(input.beams); beam += TOGETHER) {
            const int beams = min(TOGETHER, static_cast<int>(input.beams) - beam), row = input.first_row + beam;
            float query[TOGETHER][8];
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                load8(queries + static_cast<size_t>(row + min(i, beams - 1)) * width + head * WIDE + eighth, query[i]);
#pragma unroll
                for (int j = 0; j < 8; j++) query[i][j] *= factor;
            }
#pragma unroll
            for (int pass = 0; pass < PASSES; pass++) {
                const int position = first + pass * 16 + group;
                float key[8];
                load8(cache + static_cast<size_t>(min(position, end - 1)) * 2 * width, key);
#pragma unroll
                for (int i = 0; i < TOGETHER; i++) {
                    float score = 0.f;
#pragma unroll
                    for (int j = 0; j < 8; j++) score = fmaf(query[i][j], key[j], score);
                    score = lane_sum<8>(score);
                    if (eighth == 0) weights[i][pass * 16 + group] = position < end ? score : -INFINITY;
                }
            }
            __syncthreads();
            if (warp < beams) {
                float scores[SPLIT / 32], most = -INFINITY, sum = 0.f;
#pragma unroll
                for (int i = 0; i < SPLIT / 32; i++) most = fmaxf(most, scores[i] = weights[warp][i * 32 + lane]);
                most = lane_max<32>(most);
#pragma unroll
                for (int i = 0; i < SPLIT / 32; i++) sum += weights[warp][i * 32 + lane] = exp2f(scores[i] - most);
                sum = lane_sum<32>(sum);
                if (lane == 0) stats[warp][0] = most, stats[warp][1] = sum;
            }
            __syncthreads();
            float attended[TOGETHER][8] = {};
#pragma unroll
            for (int pass = 0; pass < PASSES; pass++) {
                const int position = first + pass * 16 + group;
                float value[8];
                load8(cache + static_cast<size_t>(min(position, end - 1)) * 2 * width + width, value);
#pragma unroll
                for (int i = 0; i < TOGETHER; i++) {
                    const float weight = i < beams ? weights[i][pass * 16 + group] : 0.f; // 0 beyond the end
#pragma unroll
                    for (int j = 0; j < 8; j++) attended[i][j] = fmaf(weight, value[j], attended[i][j]);
                }
            }
#pragma unroll
            for (int i = 0; i < TOGETHER; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    attended[i][j] += __shfl_xor_sync(ALL_LANES, attended[i][j], 8);
                    attended[i][j] += __shfl_xor_sync(ALL_LANES, attended[i][j], 16);
                    if (lane < 8) attended_of[warp][i][eighth + j] = attended[i][j];
                }
            __syncthreads();
            for (int i = threadIdx.x; i < beams * WIDE; i += blockDim.x) {
                const int of = i / WIDE, value = i % WIDE;
                float sum = 0.f;
#pragma unroll
                for (int j = 0; j < 4; j++) sum += attended_of[j][of][value];
                if (input.splits == 1) {
                    out[static_cast<size_t>(row + of) * width + head * WIDE + value] = from_float<T>(sum / stats[of][1]);
                } else {
                    float *part = parts + ((static_cast<size_t>(row + of) * heads + head) * most_splits + split) * PART;
                    part[2 + value] = sum;
                    if (value < 2) part[value] = stats[of][value];
                }
            }
            __syncthreads();
        }
        if (input.splits == 1) continue;
        __threadfence();
        __syncthreads();
        int *arrivals = arrived + number * heads + head;
        if (threadIdx.x == 0) is_last = atomicAdd(arrivals, 1) == static_cast<int>(input.splits) - 1;
        __syncthreads();
        if (!is_last) continue;
        __threadfence();
        if (threadIdx.x == 0) *arrivals = 0; // for the next layer
        for (int i = threadIdx.x; i < static_cast<int>(input.beams) * WIDE; i += blockDim.x) {
            const int row = input.first_row + i / WIDE, value = i % WIDE;
            const float *part = parts + (static_cast<size_t>(row) * heads + head) * most_splits * PART;
            float most = -INFINITY, total = 0.f, result = 0.f;
            for (int j = 0; j < static_cast<int>(input.splits); j++) most = fmaxf(most, __ldcg(part + j * PART));
            for (int j = 0; j < static_cast<int>(input.splits); j++) {
                const float weight = exp2f(__ldcg(part + j * PART) - most);
                total += weight * __ldcg(part + j * PART + 1);
                result += weight * __ldcg(part + j * PART + 2 + value);
            }
            out[static_cast<size_t>(row) * width + head * WIDE + value] = from_float<T>(result / total);
        }
        __syncthreads(); // `is_last` is written again
    }
}

#define STEP_ATTENTION(SUFFIX, TYPE)                                                                                   \
    extern "C" __global__ void __launch_bounds__(128) step_own_##SUFFIX(                                               \
        const unsigned char *description, const Row *rows, const Input *inputs, const TYPE *qkv, TYPE *out, int layer, \
        int heads) {                                                                                                   \
        attend_own(description, rows, inputs, qkv, out, layer, heads);                                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) step_cross_##SUFFIX(                                             \
        const Input *inputs, const Items *items, const TYPE *queries, TYPE *out, float *parts, int *arrived, int layer, \
        int heads, int most_splits) {                                                                                  \
        attend_cross(inputs, items, queries, out, parts, arrived, layer, heads, most_splits);                          \
    }
FOR_FLOATS(STEP_ATTENTION)

// ---- both attentions for heads of any width, a warp for each head and row ----------------------------------------------------------

template <typename T, typename Read>
__device__ __forceinline__ void attend_any(const Read &read, const T *query, T *target, int count, int head_width) {
    const int lane = threadIdx.x;
    const float scale = rsqrtf(static_cast<float>(head_width));
    float own[LANE_VALUES], attended[LANE_VALUES] = {}, most = -INFINITY, sum = 0.f;
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++) own[i] = lane + 32 * i < head_width ? to_float(query[lane + 32 * i]) : 0.f;
    for (int key = 0; key < count; key++) {
        float score = 0.f;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) score += own[i] * read(key, 0, lane + 32 * i);
        score = lane_sum<32>(score) * scale;
        const float now = fmaxf(most, score), fading = expf(most - now), weight = expf(score - now);
        sum = sum * fading + weight, most = now;
#pragma unroll
        for (int i = 0; i < LANE_VALUES; i++)
            if (lane + 32 * i < head_width) attended[i] = attended[i] * fading + weight * read(key, 1, lane + 32 * i);
    }
#pragma unroll
    for (int i = 0; i < LANE_VALUES; i++)
        if (lane + 32 * i < head_width) target[lane + 32 * i] = from_float<T>(attended[i] / sum);
}

template <typename T>
__device__ void attend_own_any(const unsigned char *description, const Row *rows, const Input *inputs, const T *qkv, T *out,
                               int layer, int heads, int head_width) {
    const int head = blockIdx.x, width = heads * head_width;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) return;
    const Input input = inputs[row.input];
    const T *own = qkv + static_cast<size_t>(blockIdx.y) * 3 * width + head * head_width;
    T *cache = reinterpret_cast<T *>(input.own) + head * head_width;
    const int length = static_cast<int>(input.length);
    const auto read = [&](int token, int part, int value) {
        if (token == length) return to_float(own[(1 + part) * width + value]);
        const int beam = description[row.ancestry + token];
        return to_float(cache[own_offset(layer, token, beam, input.capacity, input.beams, width) + part * width + value]);
    };
    attend_any(read, own, out + static_cast<size_t>(blockIdx.y) * width + head * head_width, length + 1, head_width);
    T *target = cache + own_offset(layer, length, row.beam, input.capacity, input.beams, width);
    for (int i = threadIdx.x; i < head_width; i += 32) {
        target[i] = own[width + i];
        target[width + i] = own[2 * width + i];
    }
}

template <typename T>
__device__ void attend_cross_any(const Row *rows, const Input *inputs, const T *queries, T *out, int layer, int heads,
                                 int head_width) {
    const int head = blockIdx.x, width = heads * head_width;
    const Row row = rows[blockIdx.y];
    if (row.input < 0) return;
    const Input input = inputs[row.input];
    const T *cache = reinterpret_cast<const T *>(input.cross) + head * head_width;
    const auto read = [&](int position, int part, int value) {
        return to_float(cache[cross_offset(layer, position, input.positions, width) + part * width + value]);
    };
    const size_t at = static_cast<size_t>(blockIdx.y) * width + head * head_width;
    attend_any(read, queries + at, out + at, static_cast<int>(input.positions), head_width);
}

#define STEP_ATTENTION_ANY(SUFFIX, TYPE)                                                                               \
    extern "C" __global__ void __launch_bounds__(32) step_own_any_##SUFFIX(                                            \
        const unsigned char *description, const Row *rows, const Input *inputs, const TYPE *qkv, TYPE *out, int layer, \
        int heads, int head_width) {                                                                                   \
        attend_own_any(description, rows, inputs, qkv, out, layer, heads, head_width);                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32) step_cross_any_##SUFFIX(                                          \
        const Row *rows, const Input *inputs, const TYPE *queries, TYPE *out, int layer, int heads, int head_width) {  \
        attend_cross_any(rows, inputs, queries, out, layer, heads, head_width);                                        \
    }
FOR_FLOATS(STEP_ATTENTION_ANY)

// ---- selection -------------------------------------------------------------------------------------------------------------------

constexpr int VALUES = 16, CHUNK = 256 * VALUES; // logits of a thread and of a block
constexpr int MOST_CANDIDATES = 1024;            // of all of a row's chunks together

using Key = unsigned long long;

// Greater keys are better: the score first, then the lower token. 0 is less than any.
__device__ __forceinline__ Key key_of(float score, uint32_t token) {
    const uint32_t bits = __float_as_uint(score);
    const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | (0xffffffffu - token);
}

// The greatest key of a block of 256.
__device__ __forceinline__ Key block_max(Key key, Key *room) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        const Key other = __shfl_xor_sync(ALL_LANES, key, distance);
        key = other > key ? other : key;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = key;
    __syncthreads();
    key = room[0];
#pragma unroll
    for (int i = 1; i < 8; i++) key = room[i] > key ? room[i] : key;
    return key;
}

// Greatest logit, and sum of the exponentials, of each chunk: parts [rows, chunks].
extern "C" __global__ void __launch_bounds__(256) select_sums(const Row *rows, const float *logits, float2 *parts, int tokens,
                                                              int stride) {
    __shared__ float room[33];
    __shared__ float most_of[8];
    if (rows[blockIdx.y].take == 0) return;
    const float *line = logits + static_cast<size_t>(blockIdx.y) * stride;
    float values[VALUES], most = -INFINITY;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        const int token = blockIdx.x * CHUNK + i * 256 + threadIdx.x;
        values[i] = token < tokens ? line[token] : -INFINITY;
        most = fmaxf(most, values[i]);
    }
    most = lane_max<32>(most);
    if (threadIdx.x % 32 == 0) most_of[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++) most = fmaxf(most, most_of[i]);
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        if (static_cast<int>(blockIdx.x) * CHUNK + i * 256 + static_cast<int>(threadIdx.x) < tokens) sum += expf(values[i] - most);
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = make_float2(most, sum);
}

// The best continuations of each row. Every block finds those of a chunk; a row's last block to be ready those of the row, and
// writes them to `taken` [rows, 1 + 2 MOST_TAKEN]: whether the logits are numbers, then token and log-probability in turn.
extern "C" __global__ void __launch_bounds__(256) select_best(const unsigned char *description, const Row *rows,
                                                              const float *logits, const float2 *parts, Key *candidates,
                                                              int *arrived, uint32_t *taken, int tokens, int stride) {
    __shared__ Key room[8], all[MOST_CANDIDATES];
    __shared__ uint32_t banned[CHUNK / 32];
    __shared__ bool is_last;
    const Row row = rows[blockIdx.y];
    if (row.take == 0) return;
    const int take = min(static_cast<int>(row.take), MOST_TAKEN), first = blockIdx.x * CHUNK;
    for (int i = threadIdx.x; i < CHUNK / 32; i += blockDim.x) banned[i] = 0u;
    __syncthreads();
    const uint32_t *bans = reinterpret_cast<const uint32_t *>(description + row.bans);
    for (int i = threadIdx.x; i < static_cast<int>(row.ban_count); i += blockDim.x) {
        const int place = static_cast<int>(bans[i]) - first;
        if (place >= 0 && place < CHUNK) atomicOr(&banned[place / 32], 1u << place % 32);
    }
    float most = -INFINITY, sum = 0.f;
    const float2 *row_parts = parts + blockIdx.y * gridDim.x;
    for (int i = 0; i < static_cast<int>(gridDim.x); i++) most = fmaxf(most, row_parts[i].x);
    for (int i = 0; i < static_cast<int>(gridDim.x); i++) sum += row_parts[i].y * expf(row_parts[i].x - most);
    const float log_sum = logf(sum);
    __syncthreads();
    const float *line = logits + static_cast<size_t>(blockIdx.y) * stride;
    Key keys[VALUES], best = 0;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        const int place = i * 256 + threadIdx.x, token = first + place;
        const bool is_allowed = token < tokens && !(banned[place / 32] >> place % 32 & 1);
        keys[i] = is_allowed ? key_of(line[token] - most - log_sum + row.score, token) : 0;
        best = keys[i] > best ? keys[i] : best;
    }
    Key *found = candidates + (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x) * MOST_TAKEN;
    for (int round = 0; round < take; round++) {
        const Key winner = block_max(best, room);
        if (threadIdx.x == 0) found[round] = winner;
        if (best != winner || winner == 0) continue;
        best = 0;
#pragma unroll
        for (int i = 0; i < VALUES; i++) {
            if (keys[i] == winner) keys[i] = 0;
            best = keys[i] > best ? keys[i] : best;
        }
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicAdd(arrived + blockIdx.y, 1) == static_cast<int>(gridDim.x) - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    if (threadIdx.x == 0) arrived[blockIdx.y] = 0; // for the next step
    const int count = min(static_cast<int>(gridDim.x) * take, MOST_CANDIDATES);
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        all[i] = __ldcg(candidates + (static_cast<size_t>(blockIdx.y) * gridDim.x + i / take) * MOST_TAKEN + i % take);
    __syncthreads();
    uint32_t *target = taken + static_cast<size_t>(blockIdx.y) * (1 + 2 * MOST_TAKEN);
    if (threadIdx.x == 0) target[0] = isfinite(most) && isfinite(log_sum);
    for (int round = 0; round < take; round++) {
        best = 0;
        for (int i = threadIdx.x; i < count; i += blockDim.x) best = all[i] > best ? all[i] : best;
        const Key winner = block_max(best, room);
        for (int i = threadIdx.x; i < count; i += blockDim.x)
            if (all[i] == winner) all[i] = 0;
        if (threadIdx.x == 0) {
            const uint32_t token = winner == 0 ? 0xffffffffu : 0xffffffffu - static_cast<uint32_t>(winner);
            target[1 + 2 * round] = token;
            target[2 + 2 * round] = winner == 0 ? 0 : __float_as_uint(line[token] - most - log_sum);
        }
    }
}
