#include "kernels/dense.h"

#include <algorithm>
#include <cstddef>

#include "kernels/blocks.h"

namespace jaxfactory {

void DenseForward(const DenseShape& shape, const Bf16* x, const float* kernel,
                  const float* bias, Finish finish, Range rows, Range columns,
                  void* out) {
  const bool wide = finish <= Finish::kBias;  // float32
  const int width = columns.end - columns.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(shape.inputs / 2 * width));
  for (int k = 0; k < shape.inputs; k += 2) {
    const float* from = kernel + At(k, shape.outputs) + columns.begin;
    InterleaveFloats(from, from + shape.outputs, width,
                     packed.data() + At(k / 2, width));
  }
  PairProduct product{};
  product.segments = 1;
  product.pairs = shape.inputs / 2;
  product.ldb = width;
  ForBlocks(rows.end - rows.begin, kPairRows, [&](int start, int count) {
    ForVectors(width, kPairLanes, [&](int column, int vectors) {
      for (int i = 0; i < count; ++i) {
        const int row = rows.begin + start + i;
        const std::ptrdiff_t at = At(row, shape.outputs) + columns.begin + column;
        product.a[i] = x + At(row, shape.inputs);
        product.out[i] = wide ? static_cast<void*>(static_cast<float*>(out) + at)
                              : static_cast<void*>(static_cast<Bf16*>(out) + at);
      }
      product.b = packed.data() + column;
      product.bias = bias + columns.begin + column;
      Multiply(product, count, vectors, finish);
    });
  });
}

void DenseInputGradient(const DenseShape& shape, const Bf16* errors,
                        const float* kernel, Range columns, float* out) {
  const int width = columns.end - columns.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(shape.outputs / 2 * width));
  for (int k = 0; k < width; k += kPairLanes) {
    TransposePairs(kernel + At(columns.begin + k, shape.outputs), shape.outputs,
                   shape.outputs / 2, packed.data() + k, width);
  }
  PairProduct product{};
  product.segments = 1;
  product.pairs = shape.outputs / 2;
  product.ldb = width;
  ForBlocks(shape.rows, kPairRows, [&](int start, int count) {
    ForVectors(width, kPairLanes, [&](int column, int vectors) {
      for (int i = 0; i < count; ++i) {
        product.a[i] = errors + At(start + i, shape.outputs);
        product.out[i] = out + At(start + i, shape.inputs) + columns.begin + column;
      }
      product.b = packed.data() + column;
      Multiply(product, count, vectors, Finish::kStore);
    });
  });
}

DenseKernelGradient::DenseKernelGradient(const DenseShape& shape, const Bf16* x,
                                         const Bf16* errors)
    : shape_(shape),
      x_(x),
      errors_(errors),
      panels_(static_cast<std::size_t>(pairs()) *
              static_cast<std::size_t>(parts() * kPanel)) {}

int DenseKernelGradient::columns(int part) const {
  return std::min(kPanel, shape_.outputs - part * kPanel);
}

void DenseKernelGradient::Prepare(int part) {
  Pair* panel = panels_.data() + At(part, kPanel) * pairs();
  for (int pair = 0; pair < pairs(); ++pair) {
    const Bf16* first = errors_ + At(2 * pair, shape_.outputs) + part * kPanel;
    const Bf16* second = 2 * pair + 1 < shape_.rows ? first + shape_.outputs : nullptr;
    Interleave(first, second, columns(part), panel + At(pair, kPanel));
  }
}

void DenseKernelGradient::Compute(Range inputs, float* out) const {
  const int length = inputs.end - inputs.begin;
  ScratchArray<Pair> packed(static_cast<std::size_t>(length) *
                            static_cast<std::size_t>(pairs()));
  for (int pair = 0; pair < pairs(); ++pair) {
    const Bf16* first = x_ + At(2 * pair, shape_.inputs) + inputs.begin;
    const Bf16* second = 2 * pair + 1 < shape_.rows ? first + shape_.inputs : nullptr;
    Interleave(first, second, length, packed.data() + At(pair, length));
  }
  float* to = out + At(inputs.begin, shape_.outputs);
  std::fill_n(to, At(length, shape_.outputs), 0.0F);
  PairOuterSum sum{};
  sum.blocks = 1;
  sum.rows = 1;
  sum.columns = pairs();
  sum.x_column = length;
  sum.dy_column = kPanel;
  sum.out_row = shape_.outputs;
  for (int part = 0; part < parts(); ++part) {
    const int vectors = columns(part) / kPairLanes;
    sum.dy = panels_.data() + At(part, kPanel) * pairs();
    for (int j = 0; j < length;) {
      const int rows = OuterRows(length - j, vectors);
      sum.x = packed.data() + j;
      sum.out = to + At(j, shape_.outputs) + part * kPanel;
      AddOuter(sum, rows, vectors);
      j += rows;
    }
  }
}

}  // namespace jaxfactory
