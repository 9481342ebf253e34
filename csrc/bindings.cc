// The only file that sees Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "counting_env.h"
#include "doom_env.h"
#include "engine_names.h"
#include "env_pool.h"
#include "frame.h"
#include "game_names.h"
#include "sandbox.h"
#include "screen_loop.h"
#include "spec.h"
#ifdef JAXFACTORY_XLA
#include "convolution.h"
#include "xla_calls.h"
#include "xla_convolution.h"
#endif

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT: "name"_a is how nanobind names arguments

namespace jaxfactory {
namespace {

using Actions =
    nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// How often a waiting call looks for Ctrl-C.
constexpr std::chrono::milliseconds kSignalCheck{100};

// A pool with the configuration that its environments refer to.
class Pool {
 public:
  Pool(DoomConfig doom, const PoolConfig& config) : doom_(std::move(doom)) {
    RemoveStaleNames();
    const std::vector<int> cores = UsableCores();
    // A core would lie idle if each match's engines stayed on their worker's.
    const int agents = doom_.match.agents;
    const bool spread = config.pin && agents > 1 &&
                        std::cmp_less(config.num_envs / agents, cores.size());
    if (spread) doom_.match.cores = cores;
    std::vector<int> heads;
    heads.reserve(doom_.heads.size());
    for (const auto& head : doom_.heads) heads.push_back(static_cast<int>(head.size()));
    const RowSizes sizes = {doom_.frame.bytes(), doom_.measurements.size(),
                            doom_.variables.size()};
    pool_ = std::make_unique<EnvPool>(
        config, sizes, heads, [this](int row, std::uint32_t seed) {
          return std::make_unique<DoomEnv>(doom_, seed, row);
        });
  }

  Pool(const CountingConfig& counting, const PoolConfig& config) {
    pool_ = std::make_unique<EnvPool>(
        config, RowSizes{counting.obs_bytes, 0, 0}, std::vector<int>{2},
        [counting](int, std::uint32_t seed) {
          return std::make_unique<CountingEnv>(counting, seed);
        });
  }

  EnvPool& operator*() { return *pool_; }
  EnvPool* operator->() { return pool_.get(); }

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

  // An array over the slabs' rows, [slabs, slots, B, ...], that keeps the pool alive.
  template <typename T>
  auto Rows(T* data, std::vector<std::size_t> tail = {}) {
    const PoolConfig& config = pool_->config();
    std::vector<std::size_t> shape = {static_cast<std::size_t>(config.num_slabs),
                                      static_cast<std::size_t>(config.num_steps + 1),
                                      static_cast<std::size_t>(config.num_envs)};
    shape.insert(shape.end(), tail.begin(), tail.end());
    return nb::ndarray<nb::numpy, T>(data, shape.size(), shape.data(), nb::find(this));
  }

  // An array over the environments, [B, ...].
  template <typename T>
  auto Matrix(const AlignedArray<T>& array, std::size_t rows) {
    const std::vector<std::size_t> shape = {rows, array.size() / rows};
    return nb::ndarray<nb::numpy, T>(array.data(), shape.size(), shape.data(),
                                     nb::find(this));
  }

  nb::dict Arrays() {
    const Slabs& slabs = pool_->slabs();
    const std::size_t rows = slabs.reward.size();
    nb::dict arrays;
    arrays["obs"] = Rows(slabs.obs.data(), {slabs.obs.size() / rows});
    arrays["measurements"] =
        Rows(slabs.measurements.data(), {slabs.measurements.size() / rows});
    arrays["reward"] = Rows(slabs.reward.data());
    arrays["raw_reward"] = Rows(slabs.raw_reward.data());
    arrays["terminated"] = Rows(slabs.terminated.data());
    arrays["truncated"] = Rows(slabs.truncated.data());
    arrays["is_first"] = Rows(slabs.is_first.data());
    arrays["restarted"] = Rows(slabs.restarted.data());
    arrays["episode_shaped_return"] = Rows(slabs.episode_shaped_return.data());
    arrays["episode_raw_return"] = Rows(slabs.episode_raw_return.data());
    arrays["episode_length"] = Rows(slabs.episode_length.data());
    arrays["frags"] = Rows(slabs.frags.data());
    arrays["place"] = Rows(slabs.place.data());
    arrays["game_variables"] =
        Rows(slabs.variables.data(), {slabs.variables.size() / rows});
    const auto envs = static_cast<std::size_t>(pool_->config().num_envs);
    arrays["final_obs"] = Matrix(slabs.final_obs, envs);
    arrays["final_measurements"] = Matrix(slabs.final_measurements, envs);
    return arrays;
  }

 private:
  DoomConfig doom_;
  std::unique_ptr<EnvPool> pool_;
};

void BindConfigs(nb::module_& m) {
  nb::class_<EngineConfig>(m, "EngineConfig")
      .def(nb::init<>())
      .def_rw("executable", &EngineConfig::executable)
      .def_rw("arguments", &EngineConfig::arguments)
      .def_rw("directory", &EngineConfig::directory)
      .def_rw("preload", &EngineConfig::preload)
      .def_rw("environment", &EngineConfig::environment)
      .def_rw("confined", &EngineConfig::confined)
      .def_rw("readable", &EngineConfig::readable)
      .def_rw("writable", &EngineConfig::writable)
      .def_rw("udp", &EngineConfig::udp)
      .def_rw("start_timeout", &EngineConfig::start_timeout)
      .def_rw("timeout", &EngineConfig::timeout)
      .def_rw("screen_loop", &EngineConfig::screen_loop);
  nb::class_<FrameSpec>(m, "FrameSpec")
      .def(nb::init<>())
      .def_rw("screen_width", &FrameSpec::screen_width)
      .def_rw("screen_height", &FrameSpec::screen_height)
      .def_rw("width", &FrameSpec::width)
      .def_rw("height", &FrameSpec::height)
      .def_rw("screen_channels", &FrameSpec::screen_channels)
      .def_rw("depth", &FrameSpec::depth)
      .def_rw("labels", &FrameSpec::labels)
      .def_rw("automap", &FrameSpec::automap)
      .def_prop_ro("channels", &FrameSpec::channels);
  nb::class_<GameReward>(m, "GameReward")
      .def(nb::init<>())
      .def_rw("living", &GameReward::living)
      .def_rw("death_penalty", &GameReward::death_penalty)
      .def_rw("map_exit", &GameReward::map_exit)
      .def_rw("kill", &GameReward::kill)
      .def_rw("secret", &GameReward::secret)
      .def_rw("item", &GameReward::item)
      .def_rw("frag", &GameReward::frag)
      .def_rw("hit", &GameReward::hit)
      .def_rw("hit_taken_penalty", &GameReward::hit_taken_penalty)
      .def_rw("damage_made", &GameReward::damage_made)
      .def_rw("damage_taken_penalty", &GameReward::damage_taken_penalty)
      .def_rw("health", &GameReward::health)
      .def_rw("armor", &GameReward::armor);
  nb::class_<ShapingTerm>(m, "ShapingTerm")
      .def(nb::init<>())
      .def_rw("variable", &ShapingTerm::variable)
      .def_rw("rise", &ShapingTerm::rise)
      .def_rw("fall", &ShapingTerm::fall)
      .def_rw("cap", &ShapingTerm::cap)
      .def_rw("per_event", &ShapingTerm::per_event)
      .def_rw("not_negative", &ShapingTerm::not_negative);
  nb::class_<HeldWeapon>(m, "HeldWeapon")
      .def(nb::init<>())
      .def_rw("reward", &HeldWeapon::reward)
      .def_rw("decisions", &HeldWeapon::decisions);
  nb::class_<Measurement>(m, "Measurement")
      .def(nb::init<>())
      .def_rw("variable", &Measurement::variable)
      .def_rw("divisor", &Measurement::divisor)
      .def_rw("cap", &Measurement::cap)
      .def_rw("not_negative", &Measurement::not_negative);
  nb::class_<MatchConfig>(m, "MatchConfig")
      .def(nb::init<>())
      .def_rw("agents", &MatchConfig::agents)
      .def_rw("bots", &MatchConfig::bots)
      .def_rw("rules", &MatchConfig::rules);
  nb::class_<TrainedReward>(m, "TrainedReward")
      .def(nb::init<>())
      .def_rw("scale", &TrainedReward::scale)
      .def_rw("clip", &TrainedReward::clip);
  nb::class_<DoomConfig>(m, "DoomConfig")
      .def(nb::init<>())
      .def_rw("engine", &DoomConfig::engine)
      .def_rw("frame", &DoomConfig::frame)
      .def_rw("match", &DoomConfig::match)
      .def_rw("reward", &DoomConfig::reward)
      .def_rw("own_variable", &DoomConfig::own_variable)
      .def_rw("shaping", &DoomConfig::shaping)
      .def_rw("held_weapon", &DoomConfig::held_weapon)
      .def_rw("measurements", &DoomConfig::measurements)
      .def_rw("reward_scale", &DoomConfig::reward_scale)
      .def_rw("trained", &DoomConfig::trained)
      .def_rw("map", &DoomConfig::map)
      .def_rw("frame_skip", &DoomConfig::frame_skip)
      .def_rw("queued_tics", &DoomConfig::queued_tics)
      .def_rw("timeout", &DoomConfig::timeout)
      .def_rw("start_time", &DoomConfig::start_time)
      .def_rw("buttons", &DoomConfig::buttons)
      .def_rw("max_values", &DoomConfig::max_values)
      .def_rw("heads", &DoomConfig::heads)
      .def_rw("variables", &DoomConfig::variables)
      .def_rw("restart_failed", &DoomConfig::restart_failed);
  nb::class_<CountingConfig>(m, "CountingConfig")
      .def(nb::init<>())
      .def_rw("obs_bytes", &CountingConfig::obs_bytes)
      .def_rw("episode_length", &CountingConfig::episode_length)
      .def_rw("fail_at", &CountingConfig::fail_at);
  nb::class_<PoolConfig>(m, "PoolConfig")
      .def(nb::init<>())
      .def_rw("num_envs", &PoolConfig::num_envs)
      .def_rw("rows_per_env", &PoolConfig::rows_per_env)
      .def_rw("num_groups", &PoolConfig::num_groups)
      .def_rw("num_workers", &PoolConfig::num_workers)
      .def_rw("num_steps", &PoolConfig::num_steps)
      .def_rw("num_slabs", &PoolConfig::num_slabs)
      .def_rw("serial", &PoolConfig::serial)
      .def_rw("pin", &PoolConfig::pin)
      .def_rw("seed", &PoolConfig::seed)
      .def_rw("env_seeds", &PoolConfig::env_seeds);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The C++ environment pool; jaxfactory.envs.doom.pool is its face.";
  // At the interpreter's exit whatever still lives is freed by the process's end.
  nb::set_leak_warnings(false);
  m.attr("ENGINE_VERSION") = protocol::kEngineVersionText;
  // Registers the type;
  // NOLINTNEXTLINE(bugprone-unused-raii,bugprone-throw-keyword-missing)
  nb::exception<EngineError>(m, "EngineError", PyExc_RuntimeError);
  BindConfigs(m);
  m.def("button_index", &ButtonIndex, "name"_a,
        "Index of a button by its name, or -1 if there is none.");
  m.def("variable_index", &VariableIndex, "name"_a,
        "Index of a game variable by its name, or -1 if there is none.");
#ifdef JAXFACTORY_XLA
  m.def("xla_handlers", [] {
    nb::dict handlers;
    handlers["reset"] = nb::capsule(XlaResetHandler());
    handlers["step"] = nb::capsule(XlaStepHandler());
    return handlers;
  });
  m.def("limit_convolution_lanes", &LimitConvolutionLanes, "lanes"_a,
        "Use vectors of at most so many floats, 8 or 16: for tests of both.");
  m.def("xla_convolutions", [] {
    nb::dict handlers;
    if (!ConvolutionSupported()) return handlers;
    handlers["forward"] = nb::capsule(XlaConvForwardHandler());
    handlers["kernel_gradient"] = nb::capsule(XlaConvKernelGradientHandler());
    handlers["image_gradient"] = nb::capsule(XlaConvImageGradientHandler());
    return handlers;
  });
#endif
  m.def("find_screen_loop", &FindScreenLoop, "executable"_a,
        "Where the loop that is replaced lies in an engine's file; -1 if nowhere.");
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
              "Both images must have pixels, and as many channels as each other.");
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
      "Resize a uint8 [H, W, C] image to the shape of `out`, nearest neighbour.");
  nb::class_<Pool>(m, "Pool")
      .def(nb::init<const DoomConfig&, const PoolConfig&>(), "doom"_a, "config"_a)
      .def(nb::init<const CountingConfig&, const PoolConfig&>(), "counting"_a,
           "config"_a)
      .def(
          "seed",
          [](Pool& pool, int env, std::uint32_t seed) { pool->Seed(env, seed); },
          "env"_a, "seed"_a, "Seed an environment anew, from its next reset on.")
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
          "Whether a group was sent something that has not been received yet.")
      .def("recv", &Pool::Recv, "group"_a,
           "Wait for a group; returns the slab and the slot that it wrote.")
      .def(
          "close", [](Pool& pool) { pool->Close(); },
          nb::call_guard<nb::gil_scoped_release>())
      .def("arrays", &Pool::Arrays,
           "All result arrays, [slabs, slots, B, ...], written in place.")
      .def_prop_ro(
          "address",
          [](Pool& pool) { return reinterpret_cast<std::intptr_t>(&(*pool)); },
          "What the XLA handlers take as the pool.")
      .def_prop_ro("pids", [](Pool& pool) { return pool->pids(); })
      .def_prop_ro("tuned", [](Pool& pool) { return pool->tuned(); })
      .def_prop_ro("seeds", [](Pool& pool) { return pool->seeds(); })
      .def_prop_ro("num_workers",
                   [](Pool& pool) { return pool->config().num_workers; });
}

}  // namespace jaxfactory
