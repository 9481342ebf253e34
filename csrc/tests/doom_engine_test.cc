// Validation of an engine's data, against a fake engine that speaks its protocol.
#include "doom/engine/doom_engine.h"

#include <unistd.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "doom/doom_env.h"
#include "doom/doom_player.h"
#include "doom/engine/engine_names.h"
#include "tests/check.h"
#include "tests/fake_game.h"

namespace jaxfactory {
namespace {

void Attach(const std::string& attack) {
  const EngineConfig config = Attack(attack);
  std::string id;
  try {
    DoomEngine engine(config, 1);
    id = engine.id();
    WaitFor(engine);
  } catch (const EngineError&) {
    if (attack != "stranger") {
      CHECK(Names(id).empty());
    } else {  // owned by another user: not removed
      CHECK(Names(id) == std::set<std::string>{kSegmentName + id});
      unlink(("/dev/shm/" + (kSegmentName + id)).c_str());
    }
    throw;
  }
}

void TestAnHonestEngine() {
  const EngineConfig config = Attack("none");
  DoomEngine engine(config, 1);
  WaitFor(engine);
  CHECK(engine.region_size(protocol::kScreenRegion) == 160 * 120 * 3);
  CHECK(engine.region_size(protocol::kDepthRegion) == 0);
  engine.Send(protocol::kTic);
  WaitFor(engine);
}

void TestSegmentsThatAreRefused() {
  CHECK_THROWS(Attach("others write"), EngineError, "can be written by other users");
  CHECK_THROWS(Attach("group writes"), EngineError, "can be written by other users");
  CHECK_THROWS(Attach("too small"), EngineError, "has 100 bytes");
  CHECK_THROWS(Attach("empty"), EngineError, "has 0 bytes");
  CHECK_THROWS(Attach("too large"), EngineError, "has 1099511627776 bytes");
  CHECK_THROWS(Attach("link"), EngineError, "cannot be opened");
  CHECK_THROWS(Attach("pipe"), EngineError, "is not a regular file");
  CHECK_THROWS(Attach("nothing"), EngineError, "made no shared memory");
  CHECK_THROWS(Attach("version"), EngineError, "version ?[2J??,");
  CHECK_THROWS(Attach("segment size"), EngineError, "reports version 1.3.2");
  for (const char* attack :
       {"screen outside", "screen far outside", "depth too long", "input outside"}) {
    CHECK_THROWS(Attach(attack), EngineError, "a region that ends outside of it");
  }
  for (const char* attack :
       {"input in the state", "input not aligned", "state elsewhere"}) {
    CHECK_THROWS(Attach(attack), EngineError, "a region at an invalid place");
  }
  CHECK_THROWS(Attach("an error"), EngineError, "reports: no??[31m map ??");
  if (geteuid() == 0) {
    CHECK_THROWS(Attach("stranger"), EngineError, "belongs to user 65534");
  }
}

void TestBuffersThatAreTooSmall() {
  for (const char* attack : {"screen too small", "no depth"}) {
    DoomConfig config = Game(attack);
    config.frame.depth = std::string(attack) == "no depth";
    DoomPlayer player(config);
    player.Take(std::make_unique<DoomEngine>(config.engine, 1));
    WaitFor(player.engine());
    CHECK_THROWS(player.Ready(), EngineError, "lacks a buffer");
  }
}

void TestOffsetsAreNotReadAgain() {
  const EngineConfig config = Attack("moves later");
  DoomEngine engine(config, 1);
  WaitFor(engine);
  const std::uint8_t* screen = engine.region(protocol::kScreenRegion);
  engine.Send(protocol::kTic);
  WaitFor(engine);
  CHECK(engine.state().region_offset[protocol::kScreenRegion] > 1U << 30);
  CHECK(engine.region(protocol::kScreenRegion) == screen);
  CHECK(screen[160 * 120 * 3 - 1] == 0);
}

// An engine whose numbers and flags all have their largest values.
void TestAnEngineThatShouts() {
  DoomConfig config = Game("shouts");
  config.queued_tics = true;
  config.engine.timeout = 1;
  // A non-delta button has no largest value; setting one must write nowhere else.
  config.max_values = {{0, 1e9}};
  Row row(config);
  DoomEnv env(config, 1);
  env.BeginReset({&row.slot, 1});
  while (!env.Advance()) {
  }
  const std::int32_t action = 1;
  for (int i = 0; i < 3; ++i) {
    env.BeginStep(&action, {&row.slot, 1});
    try {
      while (!env.Advance()) {
      }
    } catch (const EngineError&) {
      break;  // its levels never start
    }
    // The engine's flag bytes are converted to valid bools.
    CHECK(*reinterpret_cast<std::uint8_t*>(row.slot.terminated) <= 1);
    CHECK(*reinterpret_cast<std::uint8_t*>(row.slot.truncated) <= 1);
  }
}

}  // namespace
}  // namespace jaxfactory

int main(int, char** argv) {
  jaxfactory::FindFakeEngine(argv[0]);
  jaxfactory::TestAnHonestEngine();
  jaxfactory::TestSegmentsThatAreRefused();
  jaxfactory::TestBuffersThatAreTooSmall();
  jaxfactory::TestOffsetsAreNotReadAgain();
  jaxfactory::TestAnEngineThatShouts();
}
