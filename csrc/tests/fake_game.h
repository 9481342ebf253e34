// Configurations for the fake engine, and storage for results.
#ifndef JAXFACTORY_TESTS_FAKE_GAME_H_
#define JAXFACTORY_TESTS_FAKE_GAME_H_

#include <filesystem>
#include <set>
#include <string>

#include "doom/config.h"
#include "doom/doom_fields.h"
#include "doom/engine/doom_engine.h"
#include "pool/step_arrays.h"

namespace jaxfactory {

inline std::string fake_engine;  // NOLINT: set once, in main

// The fake engine is in the folder of the test program.
inline void FindFakeEngine(const char* program) {
  fake_engine = std::filesystem::absolute(program).parent_path() / "fake_engine";
}

inline EngineConfig Attack(const std::string& name) {
  EngineConfig config;
  config.executable = fake_engine;
  config.arguments = {"-attack", name};
  config.start_timeout = config.timeout = 5;
  return config;
}

inline DoomConfig Game(const std::string& attack) {
  DoomConfig config;
  config.engine = Attack(attack);
  config.buttons = {0};
  config.heads = {{{}, {{0, 1.0}}}};
  config.restart_failed = false;
  return config;
}

inline void WaitFor(DoomEngine& engine) {
  while (!engine.Poll()) {
  }
}

// One engine's names in /dev/shm; other engines may be running on this machine.
inline std::set<std::string> Names(const std::string& id) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename();
    if (name.ends_with(id)) names.insert(name);
  }
  return names;
}

// One row's results.
struct Row {
  explicit Row(const DoomConfig& config)
      : arrays({}, {config.frame.bytes(), config.measurements.size()},
               DoomFields(config)),
        slot(arrays.SlotOf(0, {0, 1})) {}
  StepArrays arrays;
  StepSlot slot;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_TESTS_FAKE_GAME_H_
