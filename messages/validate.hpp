// The contracts of messages/records.hpp as checks: ranges, array lengths that must agree, numbers
// that would poison training if they were not finite.
#pragma once

#include <string_view>

#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// Whether `name` can name a node: 1 to 64 letters, digits, '.', '-' and '_'. It goes into a
// certificate, log lines and file names.
bool is_node_name(std::string_view name);

// kCorrupt names the record, the field and the value. Any thread may call these.
[[nodiscard]] Result<void> validate(const Hello& r);
[[nodiscard]] Result<void> validate(const HelloReply& r);
[[nodiscard]] Result<void> validate(const Prompt& r);
[[nodiscard]] Result<void> validate(const SamplingParams& r);
[[nodiscard]] Result<void> validate(const GroupKey& r);
[[nodiscard]] Result<void> validate(const Route& r);
[[nodiscard]] Result<void> validate(const GroupTask& r);
[[nodiscard]] Result<void> validate(const Failure& r);
[[nodiscard]] Result<void> validate(const Rollout& r);
[[nodiscard]] Result<void> validate(const ProbeRequest& r);
[[nodiscard]] Result<void> validate(const ProbeResult& r);
// A failed rollout may lack steps; every other one has steps that end at T, and 0 or K values.
[[nodiscard]] Result<void> validate(const TracedRollout& r);
[[nodiscard]] Result<void> validate(const AdvantageRollout& r);
[[nodiscard]] Result<void> validate(const StepPair& r);
[[nodiscard]] Result<void> validate(const GroupStats& r);
[[nodiscard]] Result<void> validate(const SampleGroup& r);
[[nodiscard]] Result<void> validate(const GroupFailed& r);
[[nodiscard]] Result<void> validate(const Metric& r);
[[nodiscard]] Result<void> validate(const Commit& r);
[[nodiscard]] Result<void> validate(const TensorEntry& r);
// Every tensor lies inside the buffer and has the bytes that its shape and dtype need.
[[nodiscard]] Result<void> validate(const WeightsManifest& r);
[[nodiscard]] Result<void> validate(const WeightsPlace& r);
[[nodiscard]] Result<void> validate(const WeightsReady& r);
// The chunk lies inside the buffer.
[[nodiscard]] Result<void> validate(const WeightsPull& r);
[[nodiscard]] Result<void> validate(const WeightsShare& r);
[[nodiscard]] Result<void> validate(const WeightsDelivered& r);

}  // namespace tracewise
