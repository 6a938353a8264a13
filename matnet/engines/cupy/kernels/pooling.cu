// Max and average pooling by the rules of MatConvNet and Caffe.

enum Method { MAXIMUM, AVERAGE, PADDED_AVERAGE };

// Layout of windows. KH and KW: kernel sizes at compile time; 0: at run time.
template <int KH, int KW> struct Windows {
    int height, width, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, top, left;
    __device__ __forceinline__ int rows() const { return KH ? KH : kernel_h; }
    __device__ __forceinline__ int columns() const { return KW ? KW : kernel_w; }
};

// Initial value of a window: `outside` if part of it is outside the image, otherwise neutral.
template <int METHOD, int KH, int KW>
__device__ __forceinline__ float initial(const Windows<KH, KW>& w, int row, int column, float outside) {
    if (METHOD != MAXIMUM) return 0.0f;
    const bool inside = row >= 0 && column >= 0 && row + w.rows() <= w.height && column + w.columns() <= w.width;
    return inside ? -__int_as_float(0x7f800000) : outside;
}

template <int METHOD> __device__ __forceinline__ float combined(float a, float b) {
    return METHOD == MAXIMUM ? greater(a, b) : a + b;
}

// MatConvNet divides by the pixels inside the image, Caffe by the cells inside the padded image (0 outside, which gives
// NaN).
template <int METHOD, int KH, int KW>
__device__ __forceinline__ float finished(const Windows<KH, KW>& w, float value, int row, int column) {
    if (METHOD == MAXIMUM) return value;
    if (METHOD == PADDED_AVERAGE) {
        const int rows = at_most(row + w.rows(), w.height + w.top) - row;
        const int columns = at_most(column + w.columns(), w.width + w.left) - column;
        return value / ((float)rows * (float)columns);
    }
    const int rows = at_most(row + w.rows(), w.height) - at_least(row, 0);
    const int columns = at_most(column + w.columns(), w.width) - at_least(column, 0);
    return value * (1.0f / ((float)rows * (float)columns));
}

// One thread per V channels of an output pixel.
template <typename S, typename T, int V, int METHOD, int KH, int KW, typename I>
__global__ void pool(const S* __restrict__ x, T* __restrict__ out, I total, int groups, int height, int width, int out_height,
                     int out_width, int kernel_h, int kernel_w, int stride_h,
                     int stride_w, int top, int left, float outside) {
    const Windows<KH, KW> w = {height,   width,    out_height, out_width, kernel_h,
                               kernel_w, stride_h, stride_w,   top,       left};
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const int group = (int)(i % groups);
        const I place = i / groups;
        const int out_column = (int)(place % out_width), out_row = (int)(place / out_width % out_height);
        const int row = out_row * stride_h - top, column = out_column * stride_w - left;
        const I image = place / out_width / out_height * height;
        float result[V];
        fill(result, initial<METHOD>(w, row, column, outside));
#pragma unroll
        for (int u = 0; u < w.rows(); ++u) {
#pragma unroll
            for (int v = 0; v < w.columns(); ++v) {
                if ((unsigned)(row + u) < (unsigned)height && (unsigned)(column + v) < (unsigned)width) {
                    float values[V];
                    load(values, x + (((image + row + u) * width + column + v) * groups + group) * V);
#pragma unroll
                    for (int k = 0; k < V; ++k) result[k] = combined<METHOD>(result[k], values[k]);
                }
            }
        }
#pragma unroll
        for (int k = 0; k < V; ++k) result[k] = finished<METHOD>(w, result[k], row, column);
        store(out + i * V, result);
    }
}

// Large windows: 32 groups of channels per block, with the window's cells distributed to 8 rows of threads.
template <typename S, typename T, int V, int METHOD, typename I>
__global__ void pool_large(const S* __restrict__ x, T* __restrict__ out, I tiles, int groups,
                           int height, int width, int out_height, int out_width, int kernel_h,
                                int kernel_w, int stride_h, int stride_w, int top, int left, float outside) {
    __shared__ float parts[8][V][32];
    const Windows<0, 0> w = {height,   width,    out_height, out_width, kernel_h,
                             kernel_w, stride_h, stride_w,   top,       left};
    const int strips = (groups + 31) / 32, lane = threadIdx.x, slice = threadIdx.y;
    for (I tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int group = (int)(tile % strips) * 32 + lane;
        const I place = tile / strips;
        const int out_column = (int)(place % out_width), out_row = (int)(place / out_width % out_height);
        const int row = out_row * stride_h - top, column = out_column * stride_w - left;
        const I image = place / out_width / out_height * height;
        float result[V];
        fill(result, initial<METHOD>(w, row, column, outside));
        for (int cell = slice; group < groups && cell < kernel_h * kernel_w; cell += 8) {
            const int r = row + cell / kernel_w, c = column + cell % kernel_w;
            if ((unsigned)r < (unsigned)height && (unsigned)c < (unsigned)width) {
                float values[V];
                load(values, x + (((image + r) * width + c) * groups + group) * V);
#pragma unroll
                for (int k = 0; k < V; ++k) result[k] = combined<METHOD>(result[k], values[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < V; ++k) parts[slice][k][lane] = result[k];
        __syncthreads();
        if (slice == 0 && group < groups) {
#pragma unroll
            for (int k = 0; k < V; ++k) {
                for (int s = 1; s < 8; ++s) result[k] = combined<METHOD>(result[k], parts[s][k][lane]);
                result[k] = finished<METHOD>(w, result[k], row, column);
            }
            store(out + (place * groups + group) * V, result);
        }
        __syncthreads();
    }
}
