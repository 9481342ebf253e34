#include "doom/doom_reward.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "doom/engine/game_names.h"

namespace jaxfactory {
namespace {

// Adds `weight` for each unit by which a counter rose, and remembers the counter.
template <typename Number>
void AddRise(double& reward, Number& last, Number now, double weight) {
  if (weight != 0 && now > last) reward += (now - last) * weight;
  last = now;
}

}  // namespace

double RawReward::Update(const protocol::GameState& state, int tics, bool ended) {
  double reward = 0;
  const double map_reward = static_cast<double>(state.map_reward) / 65536.0;
  reward += map_reward - map_reward_;
  map_reward_ = map_reward;

  reward += (tics > 0 ? tics : 0) * weights_.living;
  if (state.player_dead) {
    reward -= weights_.death_penalty;
  } else if (ended) {
    reward += weights_.map_exit;
  }
  AddRise(reward, kills_, state.player_kill_count, weights_.kill);
  AddRise(reward, secrets_, state.player_secret_count, weights_.secret);
  AddRise(reward, items_, state.player_item_count, weights_.item);
  AddRise(reward, frags_, state.player_frag_count, weights_.frag);
  AddRise(reward, hits_, state.player_hit_count, weights_.hit);
  AddRise(reward, hits_taken_, state.player_hits_taken, -weights_.hit_taken_penalty);
  AddRise<double>(reward, damage_, state.player_damage_count, weights_.damage_made);
  AddRise<double>(reward, damage_taken_, state.player_damage_taken,
                  -weights_.damage_taken_penalty);
  AddRise(reward, health_, state.player_health, weights_.health);
  AddRise(reward, armor_, state.player_armor, weights_.armor);
  return reward;
}

double Trained(double reward, const TrainedReward& rule) {
  reward *= rule.scale;
  return rule.clip > 0 ? std::clamp(reward, -rule.clip, rule.clip) : reward;
}

void ShapingReward::Weigh(std::span<const double> weights) {
  if (weights.size() != weights_.size()) {
    throw std::invalid_argument("the shaping needs " + std::to_string(weights_.size()) +
                                " weights, not " + std::to_string(weights.size()));
  }
  weights_.assign(weights.begin(), weights.end());
}

double ShapingReward::Update(const protocol::GameState& state, bool last) {
  const bool respawned = was_dead_ && !state.player_dead;
  const bool counts = !first_ && !last && !respawned;
  // Both read the state even where the reward is 0, for later changes.
  const double changes = Changes(state);
  const bool held = held_.reward != 0 && WeaponHeld(state);
  was_dead_ = state.player_dead;
  first_ = false;
  if (!counts) return 0;
  return held ? changes + weights_.back() * held_.reward : changes;
}

double ShapingReward::Changes(const protocol::GameState& state) {
  double reward = 0;
  for (std::size_t i = 0; i < terms_.size(); ++i) {
    const ShapingTerm& term = terms_[i];
    double now = ReadVariable(state, term.variable);
    if (term.not_negative) now = std::max(now, 0.0);
    double change = now - last_[i];
    last_[i] = now;
    if (change == 0) continue;
    // A weight of 1 changes no bit of the product.
    if (term.per_event) {
      reward += weights_[i] * (change > 0 ? term.rise : term.fall);
    } else {
      if (term.cap > 0) change = std::min(change, term.cap);
      reward += weights_[i] * (change > 0 ? change * term.rise : -change * term.fall);
    }
  }
  return reward;
}

bool ShapingReward::WeaponHeld(const protocol::GameState& state) {
  // Without a weapon the engine reports -1.
  const int weapon = std::max(state.player_selected_weapon, 0);
  held_decisions_ = weapon == weapon_ ? held_decisions_ + 1 : 1;
  weapon_ = weapon;
  return held_decisions_ >= held_.decisions && state.player_selected_weapon_ammo > 0;
}

}  // namespace jaxfactory
