// RoI pooling (vl_nnroipool).

// A box in integer pixels, 0-based and inclusive, and its image.
struct Box {
    int image;
    double left, top, right, bottom;
};

// Mapping of box coordinates to pixels: x' = a x + b y + c and y' = d x + e y + f. A scale T is
// T (x - 1) + 1, in double precision and in this order, as in MatConvNet.
struct Transform {
    double a, b, c, d, e, f;
    int affine;
    __device__ __forceinline__ double across(double x, double y) const {
        if (!affine) return __dadd_rn(__dmul_rn(a, __dadd_rn(x, -1.0)), 1.0);
        return __dadd_rn(__dadd_rn(__dmul_rn(a, x), __dmul_rn(b, y)), c);
    }
    __device__ __forceinline__ double down(double x, double y) const {
        if (!affine) return __dadd_rn(__dmul_rn(e, __dadd_rn(y, -1.0)), 1.0);
        return __dadd_rn(__dadd_rn(__dmul_rn(d, x), __dmul_rn(e, y)), f);
    }
};

// Rounds a coordinate in single precision half away from zero, and makes it 0-based.
__device__ __forceinline__ double pixel(double coordinate) {
    const double single = (double)(float)coordinate;
    const double size = floor(fabs(single) + 0.5);
    return (single < 0.0 ? -size : size) - 1.0;
}

// Element k of the boxes in MATLAB's order: rows fastest, then columns, channels, images.
template <typename I>
__device__ __forceinline__ float numbered(const float* boxes, I k, I height, I width, I channels) {
    const I row = k % height, column = k / height % width, channel = k / height / width % channels;
    const I image = k / height / width / channels;
    return boxes[((image * channels + channel) * height + row) * width + column];
}

template <typename I>
__device__ __forceinline__ Box box_at(const float* boxes, I r, I height, I width, I channels, int images,
                                      const Transform& move, int strict, int* fault) {
    float number[5];
    bool finite = true;
#pragma unroll
    for (int k = 0; k < 5; ++k) {
        number[k] = numbered(boxes, r * 5 + k, height, width, channels);
        finite = finite && number[k] - number[k] == 0.0f;
    }
    Box box = {0, 0.0, 0.0, 0.0, 0.0};
    if (!finite) {
        *fault = 1;  // all threads write the same value
        return box;
    }
    const float given = truncf(number[0]) - 1.0f;
    const float image = at_least(0.0f, at_most(given, (float)(images - 1)));
    if (strict && image != given) {
        *fault = 1;
    }
    box.image = (int)image;
    box.left = pixel(move.across(number[1], number[2]));
    box.top = pixel(move.down(number[1], number[2]));
    box.right = pixel(move.across(number[3], number[4]));
    box.bottom = pixel(move.down(number[3], number[4]));
    return box;
}

// Start or end of a tile: a product in single precision as in MatConvNet, shifted to the box, clipped to the image.
__device__ __forceinline__ int edge(double first, float step, int tile, bool end, int size) {
    const float offset = __fmul_rn((float)tile, step);
    const double place = (double)(end ? ceilf(offset) : floorf(offset)) + first;
    return (int)at_least(0.0, at_most(place, (double)size));
}

__device__ __forceinline__ float tile_step(double first, double last, int count) {
    return __fdiv_rn((float)at_least(last - first + 1.0, 1.0), (float)count);
}

// One thread per tile and V channels. FLAT: out is R x (C columns rows), rows fastest.
template <typename S, typename T, int V, bool MAXIMUM, bool FLAT, typename I>
__global__ void roi_pool(const S* __restrict__ x, const float* __restrict__ boxes, T* __restrict__ out, int* fault,
                         I total, int images, int groups, int height, int width, int rows,
                         int columns, I box_height, I box_width, I box_channels, double a, double b, double c,
                         double d, double e, double f, int affine, int strict) {
    const Transform move = {a, b, c, d, e, f, affine};
    for (I i = first_index<I>(); i < total; i += index_step<I>()) {
        const I tile = i / groups;
        const int column = (int)(tile % columns), row = (int)(tile / columns % rows);
        const I r = tile / columns / rows;
        const int group = (int)(i % groups);
        const Box box = box_at(boxes, r, box_height, box_width, box_channels, images, move, strict, fault);
        const float down = tile_step(box.top, box.bottom, rows), across = tile_step(box.left, box.right, columns);
        const int top = edge(box.top, down, row, false, height);
        const int bottom = edge(box.top, down, row + 1, true, height);
        const int left = edge(box.left, across, column, false, width);
        const int right = edge(box.left, across, column + 1, true, width);
        const bool empty = bottom <= top || right <= left;
        float result[V];
        fill(result, MAXIMUM && !empty ? -__int_as_float(0x7f800000) : 0.0f);
        for (int y = top; y < bottom; ++y) {
            for (int z = left; z < right; ++z) {
                float values[V];
                load(values, x + ((((I)box.image * height + y) * width + z) * groups + group) * V);
#pragma unroll
                for (int v = 0; v < V; ++v) result[v] = MAXIMUM ? greater(result[v], values[v]) : result[v] + values[v];
            }
        }
        if (!MAXIMUM && !empty) {
#pragma unroll
            for (int v = 0; v < V; ++v) result[v] *= 1.0f / ((float)(bottom - top) * (float)(right - left));
        }
        if (FLAT) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                const I channel = (I)group * V + v;
                set(out[((r * groups * V + channel) * columns + column) * rows + row], result[v]);
            }
        } else {
            store(out + i * V, result);
        }
    }
}
