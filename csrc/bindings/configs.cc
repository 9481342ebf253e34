// Python bindings of the configuration structs.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "doom/config.h"
#include "pool/config.h"
#include "pool/counting_env.h"

namespace nb = nanobind;

namespace jaxfactory {

void BindConfigs(nb::module_& m) {
  nb::class_<EngineConfig>(m, "EngineConfig")
      .def(nb::init<>())
      .def_rw("executable", &EngineConfig::executable)
      .def_rw("arguments", &EngineConfig::arguments)
      .def_rw("directory", &EngineConfig::directory)
      .def_rw("preload", &EngineConfig::preload)
      .def_rw("fork_library", &EngineConfig::fork_library)
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
      .def_rw("stack", &FrameSpec::stack)
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
      .def_rw("engine_tics", &DoomConfig::engine_tics)
      .def_rw("stagger", &DoomConfig::stagger)
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

}  // namespace jaxfactory
