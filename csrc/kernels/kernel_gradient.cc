#include "kernels/kernel_gradient.h"

#include <algorithm>

#include "kernels/bf16_rows.h"
#include "kernels/blocks.h"
#include "kernels/chunks.h"
#include "kernels/instructions.h"
#include "kernels/tile_products.h"

namespace jaxfactory {
namespace {

// With tiles, one factor must be transposed, so that its rows are along the axis that
// is summed over. The errors are: they are about a third of the images. The images stay
// as they are, because positions of a line are at one distance from each other, and the
// sums are of the transposed gradient, until the end.
std::size_t SizeOfErrors(const ConvShape& shape, bool tiles) {
  if (!tiles) return shape.output();
  const int lines = shape.rows() * Chunks(shape.columns()).count();
  return static_cast<std::size_t>(At(lines, shape.outputs) * kTileRows);
}

int PatchSize(const ConvShape& shape) { return shape.size * shape.patch_row(); }

int RoundedUp(int size) { return (size + kPairLanes - 1) / kPairLanes * kPairLanes; }

}  // namespace

KernelGradientSum::KernelGradientSum(const ConvShape& shape, int most)
    : shape_(shape),
      tiles_(BestInstructions() >= Instructions::kAmx),
      errors_size_(SizeOfErrors(shape, tiles_)),
      images_(static_cast<std::size_t>(most) * shape.image()),
      errors_(static_cast<std::size_t>(most) * errors_size_) {
  if (!tiles_) return;
  sums_.resize(
      static_cast<std::size_t>(At(shape.outputs, RoundedUp(PatchSize(shape)))));
  std::fill(sums_.begin(), sums_.end(), 0.0F);
}

void KernelGradientSum::Set(int slot, const Bf16* const images[2],
                            const Bf16* const errors[2]) {
  const auto number = static_cast<std::size_t>(slot);
  Interleave(images[0], images[1], static_cast<std::ptrdiff_t>(shape_.image()),
             images_.data() + number * shape_.image());
  Pair* to = errors_.data() + number * errors_size_;
  if (tiles_) {
    SetTransposed(errors, to);
  } else {
    Interleave(errors[0], errors[1], static_cast<std::ptrdiff_t>(errors_size_), to);
  }
}

void KernelGradientSum::SetTransposed(const Bf16* const errors[2], Pair* to) const {
  const int outputs = shape_.outputs;
  const Chunks chunks(shape_.columns());
  for (int row = 0; row < shape_.rows(); ++row) {
    for (int chunk = 0; chunk < chunks.count(); ++chunk) {
      const int position = row * shape_.columns() + chunks.Start(chunk);
      const std::ptrdiff_t start = At(position, outputs);
      InterleaveTransposed(errors[0] + start,
                           errors[1] == nullptr ? nullptr : errors[1] + start, outputs,
                           chunks.Repeated(chunk), chunks.size(),
                           errors[1] == nullptr ? 0 : chunks.size(), outputs, to);
      to += At(outputs, kTileRows);
    }
  }
}

void KernelGradientSum::Add(int pairs, float* sums) {
  if (!tiles_) return AddRows(pairs, sums);
  const std::ptrdiff_t line = At(shape_.width, shape_.channels);
  TileSum sum{};
  sum.a = errors_.data();
  sum.x = images_.data();
  sum.out = sums_.data();
  sum.blocks = pairs;
  sum.lines = shape_.rows();
  sum.positions = shape_.columns();
  sum.rows = shape_.outputs;
  sum.panels = shape_.size;
  sum.columns = shape_.patch_row();
  sum.x_block = static_cast<std::ptrdiff_t>(shape_.image());
  sum.x_line = shape_.stride * line;
  sum.x_position = At(shape_.stride, shape_.channels);
  sum.x_panel = line;
  sum.out_row = RoundedUp(PatchSize(shape_));
  AddTiles(sum);
}

void KernelGradientSum::Finish(float* sums) const {
  if (!tiles_) return;
  const int size = PatchSize(shape_);
  for (int output = 0; output < shape_.outputs; output += kPairLanes) {
    AddTransposed(sums_.data() + At(output, RoundedUp(size)), size, shape_.outputs,
                  sums + output);
  }
}

void KernelGradientSum::AddRows(int pairs, float* sums) const {
  const std::ptrdiff_t line = At(shape_.width, shape_.channels);
  const int length = shape_.patch_row(), outputs = shape_.outputs;
  PairOuterSum sum{};
  sum.blocks = pairs;
  sum.rows = shape_.rows();
  sum.columns = shape_.columns();
  sum.x_block = static_cast<std::ptrdiff_t>(shape_.image());
  sum.x_row = shape_.stride * line;
  sum.x_column = At(shape_.stride, shape_.channels);
  sum.dy_block = static_cast<std::ptrdiff_t>(errors_size_);
  sum.dy_row = At(shape_.columns(), outputs);
  sum.dy_column = outputs;
  sum.out_row = outputs;
  for (int row = 0; row < shape_.size; ++row) {
    ForVectors(outputs, kPairLanes, [&](int output, int vectors) {
      for (int j = 0; j < length;) {
        const int rows = OuterRows(length - j, vectors);
        sum.x = images_.data() + row * line + j;
        sum.dy = errors_.data() + output;
        sum.out = sums + At(row * length + j, outputs) + output;
        AddOuter(sum, rows, vectors);
        j += rows;
      }
    });
  }
}

}  // namespace jaxfactory
