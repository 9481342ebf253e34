#include "doom/frame.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jaxfactory {

Resizer::Resizer(int source_width, int source_height, int width, int height,
                 int channels, int stride)
    : source_width_(source_width),
      source_height_(source_height),
      width_(width),
      height_(height),
      channels_(channels),
      stride_(stride) {
  for (int x = 0; x < width; ++x) {
    columns_.push_back(static_cast<int>(static_cast<long>(x) * source_width / width) *
                       channels);
  }
  for (int y = 0; y < height; ++y) {
    rows_.push_back(static_cast<int>(static_cast<long>(y) * source_height / height));
  }
#if defined(__x86_64__)
  if (channels == stride && __builtin_cpu_supports("ssse3")) PlanBlocks();
#endif
}

void Resizer::PlanBlocks() {
  const int row_bytes = width_ * channels_;
  const int source_bytes = source_width_ * channels_;
  if (row_bytes < 16 || source_bytes < 32) return;
  for (int start = 0; start < row_bytes; start += 16) {
    Block block;
    // The last block is moved left to end with the row: it overlaps the previous one.
    block.out = start + 16 <= row_bytes ? start : row_bytes - 16;
    const auto source_of = [this](int byte) {
      return columns_[byte / channels_] + byte % channels_;
    };
    // The first byte need not be the leftmost: in an enlarged image the next pixel may
    // be the same one again.
    block.source = source_bytes;
    for (int i = 0; i < 16; ++i) {
      block.source = std::min(block.source, source_of(block.out + i));
    }
    if (block.source + 32 > source_bytes) block.source = source_bytes - 32;
    for (int i = 0; i < 16; ++i) {
      const int offset = source_of(block.out + i) - block.source;
      if (offset >= 32) return;  // shrinks by more than two: use the plain path
      block.low[i] = static_cast<std::uint8_t>(offset < 16 ? offset : 0x80);
      block.high[i] = static_cast<std::uint8_t>(offset < 16 ? 0x80 : offset - 16);
    }
    blocks_.push_back(block);
  }
  shuffles_ = true;
}

void Resizer::operator()(const std::uint8_t* source, std::uint8_t* out) const {
  if (shuffles_) {
    Shuffle(source, out);
  } else {
    Reference(source, out);
  }
}

void Resizer::Reference(const std::uint8_t* source, std::uint8_t* out) const {
  for (int y = 0; y < height_; ++y) {
    const std::uint8_t* row =
        source + static_cast<std::size_t>(rows_[y]) * source_width_ * channels_;
    std::uint8_t* to = out + static_cast<std::size_t>(y) * width_ * stride_;
    for (int x = 0; x < width_; ++x, to += stride_) {
      for (int c = 0; c < channels_; ++c) to[c] = row[columns_[x] + c];
    }
  }
}

#if defined(__x86_64__)
__attribute__((target("ssse3"))) void Resizer::Shuffle(const std::uint8_t* source,
                                                       std::uint8_t* out) const {
  for (int y = 0; y < height_; ++y) {
    const std::uint8_t* row =
        source + static_cast<std::size_t>(rows_[y]) * source_width_ * channels_;
    std::uint8_t* to = out + static_cast<std::size_t>(y) * width_ * channels_;
    for (const Block& block : blocks_) {
      const auto load = [](const std::uint8_t* at) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
      };
      const __m128i low = _mm_shuffle_epi8(load(row + block.source), load(block.low));
      const __m128i high =
          _mm_shuffle_epi8(load(row + block.source + 16), load(block.high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + block.out),
                       _mm_or_si128(low, high));
    }
  }
}
#else
void Resizer::Shuffle(const std::uint8_t* source, std::uint8_t* out) const {
  Reference(source, out);
}
#endif

}  // namespace jaxfactory
