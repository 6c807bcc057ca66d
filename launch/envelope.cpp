#include "launch/envelope.hpp"

#include <nlohmann/json.hpp>

#include "messages/error_number.hpp"

namespace tracewise {
namespace {

using nlohmann::json;

std::string line_of(const json& j) {
  return j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json to_json(const Seats& seats) {
  return {seats.generators, seats.tracers, seats.builders, seats.ranks};
}

Seats seats_of(const json& j) { return {j.at(0), j.at(1), j.at(2), j.at(3)}; }

json to_json(const MembershipOptions& m) {
  return {m.heartbeat_ms, m.suspect_ms, m.lost_ms, m.join_ms};
}

MembershipOptions membership_of(const json& j) { return {j.at(0), j.at(1), j.at(2), j.at(3)}; }

json to_json(const WeightsWays& weights) {
  return {static_cast<int>(weights.way), weights.nccl_device};
}

WeightsWays weights_of(const json& j) {
  const int way = j.at(0);
  const bool known = way >= 0 && way <= static_cast<int>(WeightsWay::kNccl);
  return {known ? static_cast<WeightsWay>(way) : WeightsWay::kAuto, j.at(1)};
}

json to_json(const DoorOptions& door) {
  return {{"address", door.address},
          {"port", door.port},
          {"fixed_port", door.fixed_port},
          {"handshake_ms", door.handshake_ms},
          {"max_pending", door.max_pending}};
}

DoorOptions door_of(const json& j) {
  return {j.at("address"), j.at("port"), j.at("fixed_port"), j.at("handshake_ms"),
          j.at("max_pending")};
}

json to_json(const HeadAddress& head) { return {{"host", head.host}, {"port", head.port}}; }

HeadAddress address_of(const json& j) { return {j.at("host"), j.at("port")}; }

json to_json(const Progress& p) {
  return {{"step", p.step},
          {"steps", p.steps},
          {"version", p.version},
          {"accuracy", p.accuracy},
          {"response_tokens", p.response_tokens},
          {"tokens_per_second", p.tokens_per_second},
          {"train_seconds", p.train_seconds},
          {"seconds_left", p.seconds_left},
          {"activity", p.activity}};
}

Progress progress_of(const json& j) {
  Progress p;
  p.step = j.at("step");
  p.steps = j.at("steps");
  p.version = j.at("version");
  p.accuracy = j.at("accuracy");
  p.response_tokens = j.at("response_tokens");
  p.tokens_per_second = j.at("tokens_per_second");
  p.train_seconds = j.at("train_seconds");
  p.seconds_left = j.at("seconds_left");
  p.activity = j.at("activity");
  return p;
}

json to_json(const RunSummary& s) {
  json j = {{"interrupted", s.interrupted},
            {"step", s.step},
            {"train_seconds", s.train_seconds},
            {"checkpoint", s.checkpoint}};
  if (!s.evals.empty()) {
    const EvalResult& last = s.evals.back();
    j["eval"] = {last.accuracy, last.accuracy_low, last.accuracy_high, last.tokens_mean};
  }
  return j;
}

RunSummary summary_of(const json& j) {
  RunSummary s;
  s.interrupted = j.at("interrupted");
  s.step = j.at("step");
  s.train_seconds = j.at("train_seconds");
  s.checkpoint = j.at("checkpoint");
  if (j.contains("eval")) {
    const json& eval = j["eval"];
    EvalResult last;
    last.accuracy = eval.at(0);
    last.accuracy_low = eval.at(1);
    last.accuracy_high = eval.at(2);
    last.tokens_mean = eval.at(3);
    s.evals.push_back(std::move(last));
  }
  return s;
}

json to_json(const EndReport& end) {
  if (!end.error) return {{"summary", to_json(end.summary)}};
  return {{"class", static_cast<int>(end.error->error_class)}, {"message", end.error->message}};
}

EndReport end_of(const json& j) {
  EndReport end;
  if (j.contains("summary")) {
    end.summary = summary_of(j["summary"]);
    return end;
  }
  end.error = error_of(j.at("class"), j.at("message"));
  return end;
}

// Throws nlohmann::json::exception where the envelope does not have this shape.
Result<NodeEnvelope> envelope_of(const json& j) {
  NodeEnvelope e;
  TW_ASSIGN(e.identity, identity_from_text(j.at("identity").get<std::string>()));
  e.run = j.at("run");
  e.build = j.at("build");
  e.seats = seats_of(j.at("seats"));
  e.devices = j.at("devices").get<std::vector<std::string>>();
  e.threads = j.at("threads");
  e.rank_device = j.at("rank_device");
  e.door = door_of(j.at("door"));
  e.host = j.at("host");
  e.membership = membership_of(j.at("membership"));
  e.head_wait_ms = j.at("head_wait_ms");
  e.weights = weights_of(j.at("weights"));
  if (j.contains("head")) {
    const json& head = j["head"];
    e.head = HeadEnvelope{head.at("config"), head.at("resume"),
                          head.at("expected").get<std::vector<std::string>>()};
  }
  return e;
}

}  // namespace

std::string to_line(const NodeEnvelope& e) {
  json j = {{"identity", to_text(e.identity)},
            {"run", e.run},
            {"build", e.build},
            {"seats", to_json(e.seats)},
            {"devices", e.devices},
            {"threads", e.threads},
            {"rank_device", e.rank_device},
            {"door", to_json(e.door)},
            {"host", e.host},
            {"membership", to_json(e.membership)},
            {"head_wait_ms", e.head_wait_ms},
            {"weights", to_json(e.weights)}};
  if (e.head) {
    j["head"] = {
        {"config", e.head->config}, {"resume", e.head->resume}, {"expected", e.head->expected}};
  }
  return line_of(j);
}

std::string to_line(const NodeOrder& order) {
  json j = json::object();
  if (order.head) j["head"] = to_json(*order.head);
  if (order.stop) j["stop"] = true;
  return line_of(j);
}

Result<NodeEnvelope> envelope_from_line(std::string_view line) {
  try {
    return envelope_of(json::parse(line));
  } catch (const json::exception&) {
    return bad_input(
        "standard input does not begin with a launcher's envelope; tracewise launch writes it");
  }
}

Result<NodeOrder> order_from_line(std::string_view line) {
  try {
    const json j = json::parse(line);
    NodeOrder order;
    if (j.contains("head")) order.head = address_of(j["head"]);
    order.stop = j.value("stop", false);
    return order;
  } catch (const json::exception&) {
    return bad_input("a line on standard input is no order of a launcher");
  }
}

std::string to_line(const NodeReport& report) {
  struct {
    json operator()(const StartedReport&) const { return {{"started", true}}; }
    json operator()(const HeadAddress& r) const { return {{"open", to_json(r)}}; }
    json operator()(const JoinedReport&) const { return {{"joined", true}}; }
    json operator()(const Progress& r) const { return {{"progress", to_json(r)}}; }
    json operator()(const EventReport& r) const { return {{"event", r.line}}; }
    json operator()(const EndReport& r) const { return {{"end", to_json(r)}}; }
  } json_of;
  return line_of(std::visit(json_of, report));
}

std::optional<NodeReport> report_from_line(std::string_view line) {
  try {
    const json j = json::parse(line);
    if (j.contains("started")) return StartedReport{};
    if (j.contains("open")) return address_of(j["open"]);
    if (j.contains("joined")) return JoinedReport{};
    if (j.contains("progress")) return progress_of(j["progress"]);
    if (j.contains("event")) return EventReport{j["event"]};
    if (j.contains("end")) return end_of(j["end"]);
  } catch (const json::exception&) {
    // What is no report is a line like any other.
  }
  return std::nullopt;
}

}  // namespace tracewise
