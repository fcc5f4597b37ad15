// From hidden values to the best continuations of every row: logits with their greatest and sums, then the selection.
#include "step.cuh"

constexpr int MOST_TAKEN = 32; // candidates of a row

// ---- logits ------------------------------------------------------------------------------------------------------------------------

constexpr int SLICE = 128;             // of the inner axis, in shared memory at a time
constexpr int SLICE_ROW = SLICE + 32;  // so that neighbouring rows lie in other banks
constexpr int WORDS = 16;              // tokens of a warp
constexpr int LOGIT_WARPS = 13;        // so that 132 processors share the usual vocabulary in two rounds, almost evenly

// logits [rows, stride] = x tableᵀ + bias, in f32, and the greatest logit with the sum of exponentials of each block's tokens:
// sums [rows, blocks]. Each warp has sixteen tokens of its own and the whole inner axis, a multiple of two SLICEs; x comes
// through shared memory, the table straight into registers.
template <typename T, int TILES>
__device__ __forceinline__ void multiply_table(const T *x, const T *table, const T *bias, float *logits, float2 *sums, int tokens,
                                               int inner, int stride) {
    constexpr int ROWS = 16 * TILES, STEPS = SLICE / 32, COLUMNS = WORDS / 8;
    __shared__ __align__(16) T slices[2][ROWS * SLICE_ROW];
    __shared__ float2 sums_of[LOGIT_WARPS][ROWS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, pair = lane % 4;
    // Blocks of the same tokens and other rows follow each other, so that the table comes from memory once.
    const int first = blockIdx.x * ROWS, token = (blockIdx.y * LOGIT_WARPS + warp) * WORDS;
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
    // Of the table two slices are under way at any time: what a product has used is fetched again at once.
    uint4 ring[2][STEPS][COLUMNS];
    const auto fetch = [&](int slice, int step, uint4(&to)[COLUMNS]) {
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) to[i] = load_streamed(weights[i] + slice * SLICE + step * 32);
    };
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int step = 0; step < STEPS; step++) fetch(half, step, ring[half][step]);
    float sum[TILES][COLUMNS][4] = {};
    const int slices_in_all = inner / SLICE;
    begin_next();
    wait_for_previous();
    copy(0);
    for (int pair_of_slices = 0; pair_of_slices < slices_in_all; pair_of_slices += 2) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int slice = pair_of_slices + half;
            if (slice + 1 < slices_in_all) {
                copy(slice + 1);
                wait_for_copies<1>();
            } else {
                wait_for_copies<0>();
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
#pragma unroll
                for (int tile = 0; tile < TILES; tile++) {
                    const T *at = slices[half] + (tile * 16 + row) * SLICE_ROW + step * 32 + pair * 8;
                    const uint4 top = *reinterpret_cast<const uint4 *>(at);
                    const uint4 bottom = *reinterpret_cast<const uint4 *>(at + 8 * SLICE_ROW);
#pragma unroll
                    for (int i = 0; i < COLUMNS; i++) multiply_add_32<T>(sum[tile][i], top, bottom, ring[half][step][i]);
                }
                if (slice + 2 < slices_in_all) fetch(slice + 2, step, ring[half][step]);
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int line = tile * 16 + row + j * 8;
            float values[COLUMNS * 2], most = -INFINITY, total = 0.f;
#pragma unroll
            for (int i = 0; i < COLUMNS; i++)
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    const int target = token + i * 8 + pair * 2 + k;
                    float &value = values[i * 2 + k];
                    value = -INFINITY;
                    if (target < tokens) {
                        value = sum[tile][i][2 * j + k] + (bias ? to_float(bias[target]) : 0.f);
                        logits[static_cast<size_t>(first + line) * stride + target] = value;
                    }
                    most = fmaxf(most, value);
                }
            most = lane_max<4>(most);
#pragma unroll
            for (int i = 0; i < COLUMNS * 2; i++) total += values[i] == -INFINITY ? 0.f : expf(values[i] - most);
            total = lane_sum<4>(total);
            if (pair == 0) sums_of[warp][line] = make_float2(most, total);
        }
    __syncthreads();
    for (int line = threadIdx.x; line < ROWS; line += blockDim.x) {
        float most = -INFINITY, total = 0.f;
        for (int i = 0; i < LOGIT_WARPS; i++) most = fmaxf(most, sums_of[i][line].x);
        for (int i = 0; i < LOGIT_WARPS; i++)
            if (sums_of[i][line].x > -INFINITY || sums_of[i][line].y != 0.f)
                total += sums_of[i][line].y * expf(sums_of[i][line].x - most);
        sums[static_cast<size_t>(first + line) * gridDim.y + blockIdx.y] = make_float2(most, total);
    }
}

#define LOGITS(SUFFIX, TYPE, TILES)                                                                                    \
    extern "C" __global__ void __launch_bounds__(32 * LOGIT_WARPS, 1) step_logits_##TILES##_##SUFFIX(                  \
        const TYPE *x, const TYPE *table, const TYPE *bias, float *logits, float2 *sums, int tokens, int inner,        \
        int stride) {                                                                                                  \
        multiply_table<TYPE, TILES>(x, table, bias, logits, sums, tokens, inner, stride);                              \
    }
#define ALL_LOGITS(SUFFIX, TYPE)                                                                                       \
    LOGITS(SUFFIX, TYPE, 1)                                                                                            \
    LOGITS(SUFFIX, TYPE, 2)                                                                                            \
    LOGITS(SUFFIX, TYPE, 3)                                                                                            \
    LOGITS(SUFFIX, TYPE, 4)
FOR_HALVES(ALL_LOGITS)

// ---- selection -------------------------------------------------------------------------------------------------------------------

constexpr int VALUES = 16, CHUNK = 256 * VALUES; // logits of a thread and of a block
constexpr int MOST_CHUNKS = 1024;                // of a row
constexpr int PIECE = 224;                       // logits that a warp looks at together
constexpr int WARPS = 8;

using Key = unsigned long long;

// Greater keys are better: the score first, then the lower token. 0 is less than any.
__device__ __forceinline__ Key key_of(float score, uint32_t token) {
    const uint32_t bits = __float_as_uint(score);
    const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | (0xffffffffu - token);
}

// The greatest key of a warp.
__device__ __forceinline__ Key warp_max(Key key) {
    const uint32_t high = most_of_lanes(static_cast<uint32_t>(key >> 32));
    const uint32_t low = most_of_lanes(key >> 32 == high ? static_cast<uint32_t>(key) : 0u);
    return static_cast<Key>(high) << 32 | low;
}

// The best `take` keys of a warp's lanes, best first, into `found`; 0 where there are no more.
template <int COUNT> __device__ __forceinline__ void take_best(Key (&keys)[COUNT], int take, Key *found) {
    Key best = 0;
#pragma unroll
    for (int i = 0; i < COUNT; i++) best = keys[i] > best ? keys[i] : best;
    for (int round = 0; round < take; round++) {
        const Key winner = warp_max(best);
        if (threadIdx.x % 32 == 0) found[round] = winner;
        if (best != winner || winner == 0) continue;
        best = 0;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (keys[i] == winner) keys[i] = 0;
            best = keys[i] > best ? keys[i] : best;
        }
    }
}

// Greatest logit, and sum of the exponentials, of each chunk, for logits that come without: sums [rows, chunks].
extern "C" __global__ void __launch_bounds__(256) select_sums(const Row *rows, const float *logits, float2 *sums, int tokens,
                                                              int stride) {
    __shared__ float room[33];
    __shared__ float most_of[WARPS];
    begin_next();
    wait_for_previous();
    if (rows[blockIdx.y].take == 0) return;
    const float *line = logits + static_cast<size_t>(blockIdx.y) * stride;
    const int first = static_cast<int>(blockIdx.x) * CHUNK + static_cast<int>(threadIdx.x);
    float values[VALUES], most = -INFINITY;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        values[i] = first + i * 256 < tokens ? line[first + i * 256] : -INFINITY;
        most = fmaxf(most, values[i]);
    }
    most = lane_max<32>(most);
    if (threadIdx.x % 32 == 0) most_of[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < WARPS; i++) most = fmaxf(most, most_of[i]);
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        if (first + i * 256 < tokens) sum += expf(values[i] - most);
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) sums[blockIdx.y * gridDim.x + blockIdx.x] = make_float2(most, sum);
}

// The greatest of a row's logits and the logarithm of their exponentials' sum; every thread of the block gets them.
__device__ __forceinline__ float2 normaliser(const float2 *sums, int count, float *room) {
    __shared__ float most_of[WARPS];
    float most = -INFINITY, sum = 0.f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) most = fmaxf(most, sums[i].x);
    most = lane_max<32>(most);
    if (threadIdx.x % 32 == 0) most_of[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < WARPS; i++) most = fmaxf(most, most_of[i]);
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += sums[i].y * expf(sums[i].x - most);
    return make_float2(most, logf(block_sum(sum, room)));
}

// The best continuations of each row, by a block for each. Of the chunks of `size` logits, whose greatest came with their sums
// [rows, chunks], only as many are looked at as can hold what is wanted: the best of `take` chunks hold `take` tokens that are
// no worse than any elsewhere, and each banned token can have made one chunk seem better than it is. To `taken`
// [rows, 1 + 2 MOST_TAKEN] go whether the logits are numbers, then token and log-probability in turn.
extern "C" __global__ void __launch_bounds__(256) select_best(const unsigned char *description, const Row *rows,
                                                              const float *logits, const float2 *sums, uint32_t *taken,
                                                              int tokens, int stride, int size, int chunk_count) {
    __shared__ Key chunk_keys[MOST_CHUNKS], best_of[WARPS][MOST_TAKEN];
    __shared__ int chosen[MOST_CHUNKS];
    __shared__ float room[33];
    const Row row = rows[blockIdx.x];
    const int take = min(static_cast<int>(row.take), MOST_TAKEN), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t *bans = reinterpret_cast<const uint32_t *>(description + row.bans);
    const int ban_count = static_cast<int>(row.ban_count), looked_at = min(take + ban_count, chunk_count);
    begin_next();
    wait_for_previous();
    if (take == 0) return;
    const float *line = logits + static_cast<size_t>(blockIdx.x) * stride;
    const float2 *sums_of = sums + static_cast<size_t>(blockIdx.x) * chunk_count;
    const float2 norm = normaliser(sums_of, chunk_count, room);
    // By what is compared in the end, so that scores which rounding made equal are equal here, too.
    const auto score_of = [&](float logit) { return logit - norm.x - norm.y + row.score; };
    for (int i = threadIdx.x; i < chunk_count; i += blockDim.x) chunk_keys[i] = key_of(score_of(sums_of[i].x), i);
    if (lane < MOST_TAKEN) best_of[warp][lane] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < chunk_count; i += blockDim.x) {
        int better = 0;
        for (int j = 0; j < chunk_count; j++) better += chunk_keys[j] > chunk_keys[i];
        if (better < looked_at) chosen[better] = i;
    }
    __syncthreads();
    const int pieces = chunks(size, PIECE);
    for (int i = warp; i < looked_at * pieces; i += WARPS) {
        const int first = chosen[i / pieces] * size + i % pieces * PIECE;
        const int end = min(min(first + PIECE, chosen[i / pieces] * size + size), tokens);
        uint32_t banned = 0; // a bit for each of the lane's tokens
        for (int j = 0; j < ban_count; j++) {
            const int place = static_cast<int>(bans[j]) - first;
            if (place >= 0 && place < PIECE && place % 32 == lane) banned |= 1u << place / 32;
        }
        Key keys[PIECE / 32 + 1];
#pragma unroll
        for (int j = 0; j < PIECE / 32; j++) {
            const int token = first + j * 32 + lane;
            keys[j] = token < end && !(banned >> j & 1) ? key_of(score_of(line[token]), token) : 0;
        }
        keys[PIECE / 32] = best_of[warp][lane];
        __syncwarp();
        take_best(keys, take, best_of[warp]);
        __syncwarp();
    }
    __syncthreads();
    uint32_t *target = taken + static_cast<size_t>(blockIdx.x) * (1 + 2 * MOST_TAKEN);
    if (threadIdx.x == 0) target[0] = isfinite(norm.x) && isfinite(norm.y);
    const Key own = best_of[warp][lane];
    int better = 0;
    for (int i = 0; i < WARPS; i++)
        for (int j = 0; j < take; j++) {
            const Key other = best_of[i][j];
            // Of places that hold nothing, the first are taken.
            better += other > own || (other == own && i * MOST_TAKEN + j < static_cast<int>(threadIdx.x));
        }
    if (lane >= take || better >= take) return;
    const uint32_t token = own == 0 ? 0xffffffffu : 0xffffffffu - static_cast<uint32_t>(own);
    target[1 + 2 * better] = token;
    target[2 + 2 * better] = own == 0 ? 0 : __float_as_uint(line[token] - norm.x - norm.y);
}
