// Shaping on made-up game states, with the expected numbers worked out by hand.
#include "doom/doom_reward.h"

#include <cmath>
#include <memory>
#include <vector>

#include "doom/engine/game_names.h"
#include "tests/check.h"

namespace jaxfactory {
namespace {

using State = protocol::GameState;

ShapingTerm Term(const char* variable, double rise, double fall, double cap = 0) {
  ShapingTerm term;
  term.variable = VariableIndex(variable);
  CHECK(term.variable >= 0);
  term.rise = rise;
  term.fall = fall;
  term.cap = cap;
  return term;
}

bool Near(double a, double b) { return std::abs(a - b) < 1e-12; }

void TestChanges() {
  ShapingTerm health = Term("HEALTH", 0.005, -0.003);
  health.not_negative = true;
  const std::vector<ShapingTerm> terms = {Term("FRAGCOUNT", 1, -1.5),
                                          Term("DEATHCOUNT", -0.75, 0.75),
                                          Term("HITCOUNT", 0.01, -0.01, 5),
                                          Term("DAMAGECOUNT", 0.003, -0.003, 200),
                                          health,
                                          Term("WEAPON6", 0.2, -0.1)};
  const HeldWeapon held;
  ShapingReward shaping(terms, held);
  const auto state = std::make_unique<State>();
  // An episode that starts with the counters of the previous one.
  state->player_hit_count = 70;
  state->player_damage_count = 5000;
  state->player_death_count = 3;
  state->player_health = 100;
  CHECK(shaping.Update(*state, false) == 0);
  CHECK(shaping.Update(*state, false) == 0);
  state->player_frag_count = 1;
  state->player_hit_count += 8;      // counts as 5
  state->player_damage_count += 90;  // 0.27
  state->player_health = 80;         // -0.06
  state->player_weapon[6] = 1;       // 0.2
  CHECK(Near(shaping.Update(*state, false), 1 + 0.05 + 0.27 - 0.06 + 0.2));
  state->player_frag_count = -1;      // -3
  state->player_damage_count += 900;  // counts as 200: 0.6
  state->player_health = 90;          // 0.05
  state->player_weapon[6] = 0;        // -0.1
  CHECK(Near(shaping.Update(*state, false), -3 + 0.6 + 0.05 - 0.1));
  // Dead: health below 0 is 0, so it fell by 90.
  state->player_dead = true;
  state->player_death_count = 4;
  state->player_health = -60;
  CHECK(Near(shaping.Update(*state, false), -0.75 - 0.27));
  state->player_health = -70;
  CHECK(shaping.Update(*state, false) == 0);
  // Alive again: no reward; later changes count from here.
  state->player_dead = false;
  state->player_health = 100;
  CHECK(shaping.Update(*state, false) == 0);
  state->player_health = 99;
  CHECK(Near(shaping.Update(*state, false), -0.003));
  state->player_frag_count = 9;
  CHECK(shaping.Update(*state, /*last=*/true) == 0);
  shaping.Restart();
  state->player_frag_count = 0;
  CHECK(shaping.Update(*state, false) == 0);
  state->player_frag_count = 1;
  CHECK(shaping.Update(*state, false) == 1);
}

void TestEvents() {
  ShapingTerm health = Term("HEALTH", 1, 0);
  health.per_event = true;
  const std::vector<ShapingTerm> terms = {health};
  const HeldWeapon held;
  ShapingReward shaping(terms, held);
  const auto state = std::make_unique<State>();
  const std::vector<int> seen = {50, 60, 60, 40, 90, 91};
  const std::vector<double> paid = {0, 1, 0, 0, 1, 1};
  for (std::size_t i = 0; i < seen.size(); ++i) {
    state->player_health = seen[i];
    CHECK(shaping.Update(*state, false) == paid[i]);
  }
}

void TestWeights() {
  const std::vector<ShapingTerm> terms = {Term("FRAGCOUNT", 1, -1.5),
                                          Term("HITCOUNT", 0.01, -0.01, 5)};
  const HeldWeapon held = {.reward = 0.002, .decisions = 1};
  ShapingReward shaping(terms, held);
  shaping.Weigh(std::vector<double>{0.5, 3, 10});
  const auto state = std::make_unique<State>();
  CHECK(shaping.Update(*state, false) == 0);
  state->player_frag_count = 2;             // 0.5 * 2
  state->player_hit_count = 8;              // counts as 5: 3 * 0.05
  state->player_selected_weapon_ammo = 10;  // 10 * 0.002
  CHECK(Near(shaping.Update(*state, false), 1 + 0.15 + 0.02));
  state->player_frag_count = 1;  // 0.5 * -1.5
  CHECK(Near(shaping.Update(*state, false), -0.75 + 0.02));
  bool refused = false;
  try {
    shaping.Weigh(std::vector<double>{1, 1});
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

void TestHeldWeapon() {
  const std::vector<ShapingTerm> none;
  const HeldWeapon held = {.reward = 0.002, .decisions = 5};
  ShapingReward shaping(none, held);
  const auto state = std::make_unique<State>();
  const auto decide = [&](int weapon, int ammo) {
    state->player_selected_weapon = weapon;
    state->player_selected_weapon_ammo = ammo;
    return shaping.Update(*state, false);
  };
  for (int i = 0; i < 4; ++i) CHECK(decide(2, 10) == 0);
  CHECK(decide(2, 10) == 0.002);  // the fifth
  CHECK(decide(2, 9) == 0.002);
  CHECK(decide(2, 0) == 0);  // no ammunition
  CHECK(decide(2, 5) == 0.002);
  CHECK(decide(3, 5) == 0);  // changed
  for (int i = 0; i < 3; ++i) CHECK(decide(3, 5) == 0);
  CHECK(decide(3, 5) == 0.002);
  // None, or the fist: both count as slot 0.
  for (const int weapon : {-1, 0, 0, -1}) CHECK(decide(weapon, 1) == 0);
  CHECK(decide(0, 1) == 0.002);
  shaping.Restart();
  for (int i = 0; i < 4; ++i) CHECK(decide(0, 1) == 0);
  CHECK(decide(0, 1) == 0.002);
}

void TestTrained() {
  TrainedReward rule;
  CHECK(Trained(-2000, rule) == -2000);
  rule.scale = 0.5;
  CHECK(Trained(3, rule) == 1.5);
  rule.clip = 1;  // after scaling
  CHECK(Trained(3, rule) == 1);
  CHECK(Trained(-3, rule) == -1);
  CHECK(Trained(1.5, rule) == 0.75);
}

}  // namespace
}  // namespace jaxfactory

int main() {
  jaxfactory::TestChanges();
  jaxfactory::TestEvents();
  jaxfactory::TestWeights();
  jaxfactory::TestHeldWeapon();
  jaxfactory::TestTrained();
}
