// Python bindings of the pool and its arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "doom/config.h"
#include "doom/doom_pool.h"
#include "doom/engine/engine_names.h"
#include "pool/counting_env.h"
#include "pool/env_pool.h"
#include "pool/pool_numbers.h"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a is how nanobind names arguments

namespace jaxfactory {
namespace {

using Actions =
    nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// How often a waiting call checks for Ctrl-C.
constexpr std::chrono::milliseconds kSignalCheck{100};

// A pool, for Python.
class Pool {
 public:
  Pool(DoomConfig doom, const PoolConfig& config) {
    RemoveStaleNames();
    const auto made = std::make_shared<Made>();
    made->doom = std::move(doom);
    SpreadEngines(config, &made->doom);
    made->pool = std::make_unique<EnvPool>(config, DoomKind(made->doom));
    pool_ = {made, made->pool.get()};
    number_ = NumberPool(pool_);
  }

  Pool(const CountingConfig& counting, const PoolConfig& config)
      : pool_(std::make_shared<EnvPool>(config, CountingKind(counting))),
        number_(NumberPool(pool_)) {}

  EnvPool& operator*() { return *pool_; }
  EnvPool* operator->() { return pool_.get(); }
  std::int64_t number() const { return number_; }

  std::pair<int, int> Recv(int group) {
    Position position;
    while (true) {
      bool ready = false;
      {
        const nb::gil_scoped_release nogil;
        ready = pool_->Recv(group, kSignalCheck, &position);
      }
      if (ready) return {position.slab, position.slot};
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
  }

  // An array for each field, [slabs, slots, B, ...] or [B, ...], which keeps the pool
  // alive.
  nb::dict Arrays() {
    const PoolConfig& config = pool_->config();
    const StepArrays& arrays = pool_->arrays();
    nb::dict made;
    for (std::size_t i = 0; i < arrays.fields().size(); ++i) {
      const Field& field = arrays.fields()[i];
      std::vector<std::size_t> shape = {static_cast<std::size_t>(config.num_envs)};
      if (field.history == History::kEveryStep) {
        shape.insert(shape.begin(), {static_cast<std::size_t>(config.num_slabs),
                                     static_cast<std::size_t>(config.num_steps + 1)});
      }
      if (!field.scalar) shape.push_back(field.columns);
      made[field.name.c_str()] = VisitType(field.type, [&]<typename T>(T*) {
        return nb::cast(nb::ndarray<nb::numpy, T>(reinterpret_cast<T*>(arrays.data(i)),
                                                  shape.size(), shape.data(),
                                                  nb::find(this)));
      });
    }
    return made;
  }

 private:
  // The environments refer to the configuration. A compiled program's call shares both.
  struct Made {
    DoomConfig doom;
    std::unique_ptr<EnvPool> pool;
  };

  std::shared_ptr<EnvPool> pool_;
  std::int64_t number_ = 0;
};

}  // namespace

void BindPool(nb::module_& m) {
  nb::class_<Pool>(m, "Pool")
      .def(nb::init<const DoomConfig&, const PoolConfig&>(), "doom"_a, "config"_a)
      .def(nb::init<const CountingConfig&, const PoolConfig&>(), "counting"_a,
           "config"_a)
      .def(
          "seed",
          [](Pool& pool, int env, std::uint32_t seed) { pool->Seed(env, seed); },
          "env"_a, "seed"_a, "Reseed an environment, from its next reset on.")
      .def(
          "weigh_shaping",
          [](Pool& pool, int row, const std::vector<double>& weights) {
            WeighShaping(*pool, row, weights);
          },
          "row"_a, "weights"_a,
          "Multiply a row's shaping terms, and its held weapon's reward, by factors.")
      .def(
          "send_reset", [](Pool& pool, int group) { pool->SendReset(group); },
          "group"_a)
      .def(
          "send",
          [](Pool& pool, int group, const Actions& actions) {
            pool->Send(group, {actions.data(), actions.size()});
          },
          "group"_a, "actions"_a)
      .def(
          "check",
          [](Pool& pool, const Actions& actions) {
            pool->Check({actions.data(), actions.size()});
          },
          "actions"_a, "Raise ValueError if an action's index is outside its head.")
      .def(
          "sent", [](Pool& pool, int group) { return pool->sent(group); }, "group"_a,
          "Whether a group has been sent a request whose result is not received yet.")
      .def("recv", &Pool::Recv, "group"_a,
           "Wait for a group; returns the slab and the slot that it wrote.")
      .def(
          "close", [](Pool& pool) { pool->Close(); },
          nb::call_guard<nb::gil_scoped_release>())
      .def("arrays", &Pool::Arrays,
           "A field's name to its array, [slabs, slots, B, ...], or [B, ...] if only "
           "the "
           "latest values are kept; written in place, in the order of the XLA results.")
      .def_prop_ro(
          "number", [](Pool& pool) { return pool.number(); },
          "The pool's number, as the XLA handlers take it.")
      .def_prop_ro(
          "token",
          [](Pool& pool) {
            return static_cast<std::int32_t>(NextToken(pool.number()));
          },
          "The token that the next XLA call must carry.")
      .def_prop_ro("pids", [](Pool& pool) { return EnginePids(*pool); })
      .def_prop_ro("tuned", [](Pool& pool) { return TunedEngines(*pool); })
      .def_prop_ro("seeds", [](Pool& pool) { return pool->seeds(); })
      .def_prop_ro("num_workers",
                   [](Pool& pool) { return pool->config().num_workers; });
}

}  // namespace jaxfactory
