// exp(x - m) / sum exp(x - m) over channels, m being their maximum.

// Channels last, or one pixel per image: blockDim.x threads (a multiple of 32) share a row, blockDim.y rows a block.
// Each thread reads its values three times; after the first time they lie in the cache.
template <bool MAXIMUM> __device__ __forceinline__ float reduced_row(float value, float* parts) {
    for (int step = 16; step; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, value, step);
        value = MAXIMUM ? greater(value, other) : value + other;
    }
    if (blockDim.x == 32) return value;
    const int warps = blockDim.x / 32;
    float* row = parts + threadIdx.y * warps;
    if (threadIdx.x % 32 == 0) row[threadIdx.x / 32] = value;
    __syncthreads();
    value = row[0];
    for (int warp = 1; warp < warps; ++warp) value = MAXIMUM ? greater(value, row[warp]) : value + row[warp];
    __syncthreads();
    return value;
}

template <typename S, typename T, typename I>
__global__ void softmax_rows(const S* __restrict__ x, T* __restrict__ out, I rows, int channels, I pitch,
                             I out_pitch) {
    __shared__ float parts[32];
    for (I first = (I)blockIdx.x * blockDim.y; first < rows; first += (I)gridDim.x * blockDim.y) {
        const I row = first + threadIdx.y;
        const int count = row < rows ? channels : 0;  // no thread may leave before the others
        const S* values = x + row * pitch;
        float highest = -__int_as_float(0x7f800000), sum = 0.0f;
        for (int c = threadIdx.x; c < count; c += blockDim.x) highest = greater(highest, to_float(values[c]));
        highest = reduced_row<true>(highest, parts);
        for (int c = threadIdx.x; c < count; c += blockDim.x) sum += expf(to_float(values[c]) - highest);
        sum = reduced_row<false>(sum, parts);
        for (int c = threadIdx.x; c < count; c += blockDim.x)
            set(out[row * out_pitch + c], expf(to_float(values[c]) - highest) / sum);
    }
}

// Channels first: 32 pixels side by side, the channels dealt out to 8 rows of threads.
template <bool MAXIMUM> __device__ __forceinline__ float reduced_column(float value, float (*parts)[32]) {
    parts[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    value = parts[0][threadIdx.x];
    for (int slice = 1; slice < 8; ++slice)
        value = MAXIMUM ? greater(value, parts[slice][threadIdx.x]) : value + parts[slice][threadIdx.x];
    __syncthreads();
    return value;
}

template <typename S, typename T, typename I>
__global__ void softmax_planes(const S* __restrict__ x, T* __restrict__ out, I tiles, I plane, int channels) {
    __shared__ float parts[8][32];
    const I strips = (plane + 31) / 32;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const I pixel = tile % strips * 32 + threadIdx.x;
        const int count = pixel < plane ? channels : 0;
        const I start = tile / strips * plane * channels + pixel;
        float highest = -__int_as_float(0x7f800000), sum = 0.0f;
        for (int c = threadIdx.y; c < count; c += 8) highest = greater(highest, to_float(x[start + c * plane]));
        highest = reduced_column<true>(highest, parts);
        for (int c = threadIdx.y; c < count; c += 8) sum += expf(to_float(x[start + c * plane]) - highest);
        sum = reduced_column<false>(sum, parts);
        for (int c = threadIdx.y; c < count; c += 8)
            set(out[start + c * plane], expf(to_float(x[start + c * plane]) - highest) / sum);
    }
}
