// A few environments on the real engine, so that sanitizers check the code that drives
// it. The folder of the vizdoom package is the argument or JAXFACTORY_ENGINE.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doom/doom_pool.h"
#include "doom/engine/game_names.h"
#include "pool/env_pool.h"
#include "tests/check.h"

namespace jaxfactory {
namespace {

constexpr int kEnvs = 4;
constexpr std::chrono::seconds kPatience{60};

// The engines' working directory: they need this folder in it, and may not create it.
std::string EngineFolder() {
  const auto folder = std::filesystem::temp_directory_path() / "jaxfactory-cpp-test";
  std::filesystem::create_directories(folder / "_vizdoom");
  return folder;
}

DoomConfig Config(const std::string& folder) {
  DoomConfig config;
  config.engine.executable = folder + "/vizdoom";
  config.engine.directory = EngineFolder();
  // The sandbox rules that Python sets, if the kernel supports them.
  config.engine.confined = true;
  config.engine.readable = {
      folder,       folder + ".libs",  "/lib", "/lib64", "/usr/lib",
      "/usr/lib64", "/etc/ld.so.cache"};
  config.engine.writable = {"/dev/shm", "/dev/null"};
  config.engine.arguments = {"-iwad",
                             folder + "/freedoom2.wad",
                             "-file",
                             folder + "/scenarios/health_gathering_supreme.wad",
                             "-config",
                             "/dev/null",
                             "+map",
                             "map01",
                             "-skill",
                             "5",
                             "-width",
                             "160",
                             "-height",
                             "120",
                             "+vid_aspect",
                             "3",
                             "+fullscreen",
                             "0",
                             "+viz_controlled",
                             "1",
                             "+use_mouse",
                             "0",
                             "+viz_render_mode",
                             "6720",
                             "+viz_noconsole",
                             "1",
                             "+viz_screen_format",
                             "1",
                             "+viz_window_hidden",
                             "1",
                             "+viz_noxserver",
                             "1",
                             "-noidle",
                             "-nojoy",
                             "-nosound",
                             "+viz_nosound",
                             "1"};
  config.buttons = {ButtonIndex("MOVE_FORWARD"), ButtonIndex("TURN_LEFT")};
  config.heads = {{{}, {{config.buttons[0], 1.0}}, {{config.buttons[1], 1.0}}}};
  config.variables = {VariableIndex("HEALTH")};
  config.measurements = {{.variable = VariableIndex("HEALTH"), .divisor = 30}, {}};
  config.timeout = 100;
  config.reward.living = 1;
  return config;
}

class Fixture {
 public:
  Fixture(DoomConfig config, int groups, int workers) : doom_(std::move(config)) {
    PoolConfig pool;
    pool.num_envs = kEnvs;
    pool.rows_per_env = std::max(doom_.match.agents, 1);
    pool.num_groups = groups;
    pool.num_workers = workers;
    pool.num_steps = 8;
    pool_ = std::make_unique<EnvPool>(pool, DoomKind(doom_));
  }

  Position Wait(int group) {
    Position position;
    CHECK(pool_->Recv(group, kPatience, &position));
    return position;
  }

  void Reset() {
    for (int g = 0; g < pool_->config().num_groups; ++g) pool_->SendReset(g);
    for (int g = 0; g < pool_->config().num_groups; ++g) Wait(g);
  }

  // Returns the row of environment 0.
  std::size_t Step(int number) {
    const int size = pool_->group_size();
    Position position;
    for (int g = 0; g < pool_->config().num_groups; ++g) {
      std::vector<std::int32_t> actions;
      actions.reserve(static_cast<std::size_t>(size));
      for (int i = 0; i < size; ++i) actions.push_back((number + g * size + i) % 3);
      pool_->Send(g, actions);
    }
    for (int g = 0; g < pool_->config().num_groups; ++g) position = Wait(g);
    return (static_cast<std::size_t>(position.slab) * 9 + position.slot) * kEnvs;
  }

  EnvPool& pool() { return *pool_; }

 private:
  DoomConfig doom_;
  std::unique_ptr<EnvPool> pool_;
};

struct Seen {
  std::vector<std::uint8_t> obs;
  std::vector<float> measurements;
  std::vector<float> reward;
  bool operator==(const Seen&) const = default;
};

Seen Play(const DoomConfig& config, int groups, int workers) {
  Fixture fixture(config, groups, workers);
  fixture.Reset();
  Seen seen;
  const StepArrays& arrays = fixture.pool().arrays();
  const std::size_t bytes = config.frame.bytes();
  int truncations = 0;
  for (int step = 0; step < 60; ++step) {  // more than two episodes of 100 tics
    const std::size_t at = fixture.Step(step);
    seen.obs.insert(seen.obs.end(), arrays.Get<std::uint8_t>("obs") + at * bytes,
                    arrays.Get<std::uint8_t>("obs") + (at + kEnvs) * bytes);
    for (std::size_t i = 0; i < kEnvs; ++i) {
      seen.reward.push_back(arrays.Get<float>("reward")[at + i]);
      const float* measured = arrays.Get<float>("measurements") + (at + i) * 2;
      seen.measurements.insert(seen.measurements.end(), measured, measured + 2);
      // Where an episode ended, the variables are those of its last state.
      const bool ended = arrays.Get<bool>("is_first")[at + i];
      const float* of_state =
          ended ? arrays.Get<float>("final_measurements") + i * 2 : measured;
      const auto health =
          static_cast<float>(arrays.Get<double>("game_variables")[at + i] / 30);
      CHECK(of_state[0] == health && of_state[1] == 0);
      truncations += arrays.Get<bool>("truncated")[at + i] ? 1 : 0;
      if (arrays.Get<bool>("truncated")[at + i]) {
        CHECK(arrays.Get<std::int32_t>("episode_length")[at + i] == 100);
        CHECK(arrays.Get<bool>("is_first")[at + i]);
      }
    }
  }
  CHECK(truncations == 2 * kEnvs);
  return seen;
}

void TestTheSameWhateverTheThreads(const DoomConfig& config) {
  const Seen one = Play(config, 1, 1);
  CHECK(Play(config, 2, 2) == one);
}

void TestAKilledEngine(DoomConfig config) {
  {
    Fixture fixture(config, 1, 2);
    fixture.Reset();
    const std::size_t before = fixture.Step(0);
    kill(EnginePids(fixture.pool())[0], SIGKILL);
    const std::size_t at = fixture.Step(1);
    const StepArrays& arrays = fixture.pool().arrays();
    CHECK(arrays.Get<float>("final_measurements")[0] ==
          arrays.Get<float>("measurements")[before * 2]);
    CHECK(arrays.Get<bool>("truncated")[at] && arrays.Get<bool>("restarted")[at]);
    CHECK(!arrays.Get<bool>("truncated")[at + 1] &&
          !arrays.Get<bool>("restarted")[at + 1]);
    CHECK(!arrays.Get<bool>("restarted")[fixture.Step(2)]);
  }
  config.restart_failed = false;
  Fixture fixture(config, 1, 2);
  fixture.Reset();
  kill(EnginePids(fixture.pool())[0], SIGKILL);
  CHECK_THROWS(fixture.Step(0), EngineError, "killed by signal 9");
}

// Two matches of two agents; one loses an engine.
void TestMatches(DoomConfig config) {
  for (std::string& word : config.engine.arguments) {
    const std::size_t at = word.find("health_gathering_supreme");
    if (at != std::string::npos) word.replace(at, std::string::npos, "multi_duel.wad");
  }
  config.match.agents = 2;
  config.engine.udp = true;
  config.match.bots = 1;
  config.match.rules = {"-deathmatch", "+timelimit", "0.1"};  // 210 tics
  config.own_variable = VariableIndex("FRAGCOUNT");
  config.timeout = 0;
  Fixture fixture(config, 1, 2);
  fixture.Reset();
  const StepArrays& arrays = fixture.pool().arrays();
  int ends = 0;
  for (int step = 0; step < 60; ++step) {
    const std::size_t at = fixture.Step(step);
    for (std::size_t i = 0; i < kEnvs; i += 2) {
      const bool ended = arrays.Get<bool>("truncated")[at + i];
      CHECK(ended == arrays.Get<bool>("truncated")[at + i + 1]);
      CHECK(arrays.Get<std::int32_t>("place")[at + i] >= 1 &&
            arrays.Get<std::int32_t>("place")[at + i] <= 3);
      ends += ended ? 1 : 0;
    }
  }
  CHECK(ends == 2);
  kill(EnginePids(fixture.pool())[1], SIGKILL);
  const std::size_t at = fixture.Step(60);
  for (std::size_t i = 0; i < kEnvs; ++i) {
    CHECK(arrays.Get<bool>("restarted")[at + i] == (i < 2));
    CHECK(arrays.Get<bool>("truncated")[at + i] == (i < 2));
  }
  CHECK(!arrays.Get<bool>("restarted")[fixture.Step(61)]);
}

void TestAnEngineThatCannotStart(DoomConfig config) {
  config.engine.executable = "/no/such/file";
  Fixture fixture(config, 1, 2);
  CHECK_THROWS(fixture.Reset(), EngineError, "while it started");
}

// Closing while engines start or step.
void TestClosingDuringWork(const DoomConfig& config) {
  {
    Fixture(config, 2, 2).pool().SendReset(0);
  }
  Fixture fixture(config, 2, 2);
  fixture.Reset();
  fixture.pool().Send(1, std::vector<std::int32_t>{0, 1});
}

}  // namespace
}  // namespace jaxfactory

int main(int argc, char** argv) {
  const char* folder = argc > 1 ? argv[1] : std::getenv("JAXFACTORY_ENGINE");
  if (folder == nullptr) {
    std::puts("skipped: pass the folder of the vizdoom package");
    return 0;
  }
  const jaxfactory::DoomConfig config = jaxfactory::Config(folder);
  jaxfactory::TestTheSameWhateverTheThreads(config);
  jaxfactory::TestAKilledEngine(config);
  jaxfactory::TestMatches(config);
  jaxfactory::TestAnEngineThatCannotStart(config);
  jaxfactory::TestClosingDuringWork(config);
}
