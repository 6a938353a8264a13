// exp(x - m) / sum exp(x - m) over channels, where m is their maximum.

// A row is a pixel's channels: blockDim.x threads (a multiple of 32) share one, blockDim.y rows a block.
// Each thread reads its values three times, after the first time from the cache.
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
__global__ void softmax_rows(const S* __restrict__ x, T* __restrict__ out, I rows, int channels) {
    __shared__ float parts[32];
    for (I first = (I)blockIdx.x * blockDim.y; first < rows; first += (I)gridDim.x * blockDim.y) {
        const I row = first + threadIdx.y;
        const int count = row < rows ? channels : 0;  // no thread may exit early
        const S* values = x + row * channels;
        float highest = -__int_as_float(0x7f800000), sum = 0.0f;
        for (int c = threadIdx.x; c < count; c += blockDim.x) highest = greater(highest, to_float(values[c]));
        highest = reduced_row<true>(highest, parts);
        for (int c = threadIdx.x; c < count; c += blockDim.x) sum += expf(to_float(values[c]) - highest);
        sum = reduced_row<false>(sum, parts);
        for (int c = threadIdx.x; c < count; c += blockDim.x)
            set(out[row * channels + c], expf(to_float(values[c]) - highest) / sum);
    }
}
