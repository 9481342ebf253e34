// The module _core: the pool of Doom environments.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bindings/bindings.h"
#include "doom/engine/engine_protocol.h"
#include "doom/engine/game_names.h"
#include "doom/frame.h"
#include "doom/patches/screen_loop.h"
#include "doom/sandbox/sandbox.h"
#include "pool/env_error.h"
#include "pool/worker_pool.h"
#ifdef JAXFACTORY_XLA
#include "xla/xla_calls.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a is how nanobind names arguments

namespace jaxfactory {
namespace {

void BindFunctions(nb::module_& m) {
  m.def("button_index", &ButtonIndex, "name"_a,
        "Index of a button by its name, or -1 if there is none.");
  m.def("variable_index", &VariableIndex, "name"_a,
        "Index of a game variable by its name, or -1 if there is none.");
#ifdef JAXFACTORY_XLA
  m.def(
      "xla_handlers",
      [] {
        nb::dict handlers;
        handlers["reset"] = nb::capsule(XlaResetHandler());
        handlers["step"] = nb::capsule(XlaStepHandler());
        return handlers;
      },
      "XLA FFI handlers of the pool; see csrc/xla/xla_calls.h.");
#endif
  m.def("find_screen_loop", &FindScreenLoop, "executable"_a,
        "Offset of the screen loop to replace in an engine's file; -1 if not found.");
  m.def("landlock_version", &LandlockVersion,
        "Version of Landlock, which confines engines; 0 if this system has none.");
  m.def("usable_cores", &UsableCores, "Cores that this process may use.");
  m.def(
      "resize",
      // NOLINTBEGIN(performance-unnecessary-value-param): handles, cheap to copy
      [](nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>
             source,
         nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> out,
         bool reference) {
        // NOLINTEND(performance-unnecessary-value-param)
        if (source.shape(2) != out.shape(2) || source.size() == 0 || out.size() == 0) {
          throw std::invalid_argument(
              "The images must not be empty and must have the same number of "
              "channels.");
        }
        const Resizer resizer(
            static_cast<int>(source.shape(1)), static_cast<int>(source.shape(0)),
            static_cast<int>(out.shape(1)), static_cast<int>(out.shape(0)),
            static_cast<int>(source.shape(2)), static_cast<int>(out.shape(2)));
        if (reference) {
          resizer.Reference(source.data(), out.data());
        } else {
          resizer(source.data(), out.data());
        }
      },
      "source"_a, "out"_a, "reference"_a = false,
      "Resize a uint8 [H, W, C] image to the shape of `out`, nearest neighbor.");
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The C++ pool of Doom environments; use it through jaxfactory.make_pool.";
  // Objects that are alive when the interpreter exits are freed with the process.
  nb::set_leak_warnings(false);
  m.attr("ENGINE_VERSION") = protocol::kEngineVersionText;
  // Registers the type;
  // NOLINTNEXTLINE(bugprone-unused-raii,bugprone-throw-keyword-missing)
  nb::exception<EnvError>(m, "EngineError", PyExc_RuntimeError);
  BindConfigs(m);
  BindFunctions(m);
  BindPool(m);
}

}  // namespace jaxfactory
