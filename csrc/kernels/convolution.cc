#include "kernels/convolution.h"

#include <algorithm>
#include <vector>

#include "kernels/blocks.h"
#include "kernels/products.h"

namespace jaxfactory {
namespace {

// Blocks of images in the kernel's gradient, which stay in the L2 cache.
constexpr std::size_t kCachedFloats = 128 * 1024;

}  // namespace

bool ConvolutionSupported() { return ThisMachine().lanes > 0; }

void ConvForward(const ConvShape& shape, const float* x, const float* kernel, float* y,
                 int first, int last) {
  const Machine& machine = ThisMachine();
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  const int columns = shape.columns();
  const int places = shape.rows() * columns;
  std::vector<std::ptrdiff_t> patches;  // the start of each position's patch
  for (int row = 0; row < shape.rows(); ++row) {
    for (int column = 0; column < columns; ++column) {
      patches.push_back(row * shape.stride * line +
                        static_cast<std::ptrdiff_t>(column) * shape.stride *
                            shape.channels);
    }
  }
  Product product{};
  product.segments = shape.size;
  product.length = shape.patch_row();
  product.segment_stride = line;
  product.ldb = shape.outputs;
  for (int image = first; image < last; ++image) {
    const float* from = x + static_cast<std::size_t>(image) * shape.image();
    float* to = y + static_cast<std::size_t>(image) * shape.output();
    ForBlocks(places, machine.max_rows, [&](int start, int count) {
      ForVectors(shape.outputs, machine.lanes, [&](int output, int vectors) {
        for (int i = 0; i < count; ++i) {
          const int place = start + i;
          product.a[i] = from + patches[static_cast<std::size_t>(place)];
          product.out[i] =
              to + static_cast<std::ptrdiff_t>(place) * shape.outputs + output;
        }
        product.b = kernel + output;
        machine.multiply[vectors - 1][count - 1](product);
      });
    });
  }
}

void ConvKernelGradient(const ConvShape& shape, const float* x, const float* dy,
                        float* kernel_gradient, int first, int last) {
  const Machine& machine = ThisMachine();
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  OuterSum sum{};
  sum.rows = shape.rows();
  sum.columns = shape.columns();
  sum.x_image = static_cast<std::ptrdiff_t>(shape.image());
  sum.x_row = shape.stride * line;
  sum.x_column = static_cast<std::ptrdiff_t>(shape.stride) * shape.channels;
  sum.dy_image = static_cast<std::ptrdiff_t>(shape.output());
  sum.dy_row = static_cast<std::ptrdiff_t>(shape.columns()) * shape.outputs;
  sum.dy_column = shape.outputs;
  sum.out_row = shape.outputs;
  const int together =
      static_cast<int>(std::max<std::size_t>(1, kCachedFloats / shape.image()));
  for (int image = first; image < last; image += together) {
    sum.images = std::min(together, last - image);
    const float* from = x + static_cast<std::size_t>(image) * shape.image();
    const float* errors = dy + static_cast<std::size_t>(image) * shape.output();
    for (int row = 0; row < shape.size; ++row) {
      for (int j = 0; j < shape.patch_row(); j += machine.outer_rows) {
        sum.x = from + row * line + j;
        float* to =
            kernel_gradient +
            (static_cast<std::ptrdiff_t>(row) * shape.patch_row() + j) * shape.outputs;
        ForVectors(shape.outputs, machine.lanes, [&](int output, int vectors) {
          sum.dy = errors + output;
          sum.out = to + output;
          machine.add_outer[vectors - 1](sum);
        });
      }
    }
  }
}

void TransposeKernel(const ConvShape& shape, const float* kernel, float* transposed) {
  const int length = shape.patch_row();
  for (int row = 0; row < shape.size; ++row) {
    const std::size_t start = static_cast<std::size_t>(row) * length * shape.outputs;
    for (int j = 0; j < length; ++j) {
      for (int o = 0; o < shape.outputs; ++o) {
        transposed[start + static_cast<std::size_t>(o) * length + j] =
            kernel[start + static_cast<std::size_t>(j) * shape.outputs + o];
      }
    }
  }
}

void ConvImageGradient(const ConvShape& shape, const float* transposed, const float* dy,
                       float* dx, int first, int last) {
  const Machine& machine = ThisMachine();
  const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.width) * shape.channels;
  const int length = shape.patch_row();
  Product product{};
  product.segments = 1;
  product.length = shape.outputs;
  product.ldb = length;
  // What each output's error adds to a row of its patch; patches overlap, so it is
  // gathered here first.
  std::vector<float> parts(static_cast<std::size_t>(kMaxRows) * length);
  for (int image = first; image < last; ++image) {
    const float* errors = dy + static_cast<std::size_t>(image) * shape.output();
    float* to = dx + static_cast<std::size_t>(image) * shape.image();
    std::fill_n(to, shape.image(), 0.0F);
    for (int row = 0; row < shape.rows(); ++row) {
      ForParts(shape.columns(), machine.max_rows, [&](int start, int count) {
        for (int i = 0; i < count; ++i) {
          product.a[i] = errors + (static_cast<std::ptrdiff_t>(row) * shape.columns() +
                                   start + i) *
                                      shape.outputs;
        }
        for (int k = 0; k < shape.size; ++k) {
          ForVectors(length, machine.lanes, [&](int j, int vectors) {
            for (int i = 0; i < count; ++i) {
              product.out[i] =
                  parts.data() + static_cast<std::ptrdiff_t>(i) * length + j;
            }
            product.b = transposed +
                        static_cast<std::ptrdiff_t>(k) * length * shape.outputs + j;
            machine.multiply[vectors - 1][count - 1](product);
          });
          for (int i = 0; i < count; ++i) {
            float* place =
                to + (row * shape.stride + k) * line +
                static_cast<std::ptrdiff_t>(start + i) * shape.stride * shape.channels;
            const float* part = parts.data() + static_cast<std::ptrdiff_t>(i) * length;
            for (int j = 0; j < length; ++j) place[j] += part[j];
          }
        }
      });
    }
  }
}

}  // namespace jaxfactory
