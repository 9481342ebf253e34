// The tile instructions of AMX, for two tiles of A's rows, two of B's columns and the
// 2 x 2 tiles of their sums. tests/software_tiles.h computes the same without AMX.
//
// To be included only between JAXFACTORY_BEGIN_AMX and its end.
#ifndef JAXFACTORY_KERNELS_TILES_H_
#define JAXFACTORY_KERNELS_TILES_H_

namespace jaxfactory {
namespace {
namespace tiles {

// Which of the 8 tiles holds what. The instructions take numbers, not variables, hence
// macros.
#define JAXFACTORY_SUM_00 0
#define JAXFACTORY_SUM_01 1
#define JAXFACTORY_SUM_10 2
#define JAXFACTORY_SUM_11 3
#define JAXFACTORY_A_0 4
#define JAXFACTORY_A_1 5
#define JAXFACTORY_B_0 6
#define JAXFACTORY_B_1 7

// Sets the sizes of tiles while it lives: A's have `rows` rows of `pairs` pairs, B's
// `pairs` rows of `columns` pairs, and sums are rows x columns.
class Configuration {
 public:
  Configuration(int rows, int pairs, int columns) {
    // The format of palette 1: bytes of a row from byte 16 on, rows from byte 48 on.
    struct {
      std::uint8_t palette, start_row, reserved[14];
      std::uint16_t row_bytes[16];
      std::uint8_t rows[16];
    } sizes{};
    static_assert(sizeof sizes == 64);
    sizes.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_a = tile == JAXFACTORY_A_0 || tile == JAXFACTORY_A_1;
      const bool is_b = tile == JAXFACTORY_B_0 || tile == JAXFACTORY_B_1;
      sizes.rows[tile] = static_cast<std::uint8_t>(is_b ? pairs : rows);
      sizes.row_bytes[tile] = static_cast<std::uint16_t>(4 * (is_a ? pairs : columns));
    }
    // GCC believes that the instructions read no memory, and this one 8 bytes; so it
    // would write the sizes, and what tiles are loaded from, later or never.
    __asm__ volatile("" : : "r"(&sizes) : "memory");
    _tile_loadconfig(&sizes);
  }
  // Without it, the system would save the tiles whenever the thread is interrupted.
  ~Configuration() { _tile_release(); }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;
};

template <int kRow>
JAXFACTORY_INLINE void LoadA(const void* from, std::ptrdiff_t stride) {
  if constexpr (kRow == 0) {
    _tile_loadd(JAXFACTORY_A_0, from, stride);
  } else {
    _tile_loadd(JAXFACTORY_A_1, from, stride);
  }
}

template <int kColumn>
JAXFACTORY_INLINE void LoadB(const void* from, std::ptrdiff_t stride) {
  if constexpr (kColumn == 0) {
    _tile_loadd(JAXFACTORY_B_0, from, stride);
  } else {
    _tile_loadd(JAXFACTORY_B_1, from, stride);
  }
}

// Adds the product of tile `kRow` of A and tile `kColumn` of B to its sums.
template <int kRow, int kColumn>
JAXFACTORY_INLINE void Multiply() {
  if constexpr (kRow == 0 && kColumn == 0) {
    _tile_dpbf16ps(JAXFACTORY_SUM_00, JAXFACTORY_A_0, JAXFACTORY_B_0);
  } else if constexpr (kRow == 0) {
    _tile_dpbf16ps(JAXFACTORY_SUM_01, JAXFACTORY_A_0, JAXFACTORY_B_1);
  } else if constexpr (kColumn == 0) {
    _tile_dpbf16ps(JAXFACTORY_SUM_10, JAXFACTORY_A_1, JAXFACTORY_B_0);
  } else {
    _tile_dpbf16ps(JAXFACTORY_SUM_11, JAXFACTORY_A_1, JAXFACTORY_B_1);
  }
}

template <int kRow, int kColumn>
JAXFACTORY_INLINE void Zero() {
  if constexpr (kRow == 0 && kColumn == 0) {
    _tile_zero(JAXFACTORY_SUM_00);
  } else if constexpr (kRow == 0) {
    _tile_zero(JAXFACTORY_SUM_01);
  } else if constexpr (kColumn == 0) {
    _tile_zero(JAXFACTORY_SUM_10);
  } else {
    _tile_zero(JAXFACTORY_SUM_11);
  }
}

// Of sums.
template <int kRow, int kColumn>
JAXFACTORY_INLINE void Load(const float* from, std::ptrdiff_t stride) {
  if constexpr (kRow == 0 && kColumn == 0) {
    _tile_loadd(JAXFACTORY_SUM_00, from, stride);
  } else if constexpr (kRow == 0) {
    _tile_loadd(JAXFACTORY_SUM_01, from, stride);
  } else if constexpr (kColumn == 0) {
    _tile_loadd(JAXFACTORY_SUM_10, from, stride);
  } else {
    _tile_loadd(JAXFACTORY_SUM_11, from, stride);
  }
}

template <int kRow, int kColumn>
JAXFACTORY_INLINE void Store(float* to, std::ptrdiff_t stride) {
  if constexpr (kRow == 0 && kColumn == 0) {
    _tile_stored(JAXFACTORY_SUM_00, to, stride);
  } else if constexpr (kRow == 0) {
    _tile_stored(JAXFACTORY_SUM_01, to, stride);
  } else if constexpr (kColumn == 0) {
    _tile_stored(JAXFACTORY_SUM_10, to, stride);
  } else {
    _tile_stored(JAXFACTORY_SUM_11, to, stride);
  }
}

}  // namespace tiles
}  // namespace
}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_TILES_H_
