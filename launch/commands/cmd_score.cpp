// tracewise score: log-probabilities of given token ids, JSON lines in and out.
//
// In, a sequence a line:  {"tokens": [n]}          n >= 1 ids of the vocabulary
// Out, in the same order: {"logprobs": [n - 1]}    nats of tokens[1..] at temperature 1
// All lines are read and checked before the first is scored, so bad input leaves no output.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/commands/cli.hpp"
#include "launch/parts.hpp"
#include "launch/signals.hpp"
#include "model/scorer.hpp"

namespace tracewise {
namespace {

using Json = nlohmann::json;

struct Sequences {
  std::string place;                         // the file's name
  std::vector<std::vector<int32_t>> tokens;  // [S]
  std::vector<size_t> lines;                 // [S] line of each, from 1

  std::string place_of(size_t s) const { return place + ":" + std::to_string(lines[s]) + ": "; }
};

Result<std::vector<int32_t>> read_tokens(const std::string& text, const ModelConfig& model) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) return bad_input("no JSON object");
  const auto found = line.find("tokens");
  if (found == line.end()) return bad_input("\"tokens\" is missing");
  if (!found->is_array()) return bad_input("\"tokens\" is no array");
  if (found->empty()) return bad_input("\"tokens\" is empty; at least 1 token is needed");
  if (found->size() > static_cast<size_t>(model.max_context)) {
    return bad_input("\"tokens\" has " + std::to_string(found->size()) +
                     " tokens, but the model's context is " + std::to_string(model.max_context));
  }
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < found->size(); ++i) {
    const Json& id = (*found)[i];
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(model.vocab_size)) {
      return bad_input("\"tokens\"[" + std::to_string(i) + "] is " + id.dump() +
                       ", but ids are whole numbers from 0 to " +
                       std::to_string(model.vocab_size - 1));
    }
    tokens.push_back(id.get<int32_t>());
  }
  return tokens;
}

Result<Sequences> read_sequences(std::istream& in, const std::string& place,
                                 const ModelConfig& model) {
  Sequences sequences{place, {}, {}};
  std::string text;
  for (size_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto tokens = read_tokens(text, model);
    if (!tokens.ok()) {
      return bad_input(place + ":" + std::to_string(number) + ": " + tokens.error().message);
    }
    sequences.tokens.push_back(std::move(*tokens));
    sequences.lines.push_back(number);
  }
  if (in.bad()) return io_error("cannot read " + place);
  if (sequences.tokens.empty()) return bad_input(place + " has no lines");
  return sequences;
}

Result<Sequences> read_input(const std::string& file, const ModelConfig& model) {
  if (file.empty() || file == "-") return read_sequences(std::cin, "stdin", model);
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file)) {
    return io_error("score: cannot read " + file);
  }
  return read_sequences(stream, file, model);
}

// Numbers in the fewest digits that read back to the same float.
Result<std::string> line_of(const std::vector<float>& logprobs) {
  std::string line = "{\"logprobs\":[";
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (!std::isfinite(logprobs[i])) {
      return bad_input("the log-probability of token " + std::to_string(i + 1) +
                       " is not finite; the model's weights may be damaged");
    }
    char number[32];
    if (i > 0) line += ',';
    line.append(number, std::to_chars(number, number + sizeof number, logprobs[i]).ptr);
  }
  return line + "]}\n";
}

Result<void> score(Scorer& scorer, const Sequences& sequences, int64_t batch_tokens,
                   const std::stop_token& stop) {
  const std::span<const std::vector<int32_t>> all = sequences.tokens;
  for (size_t begin = 0; begin < all.size();) {
    if (stop.stop_requested()) return Error{ErrorClass::kCancelled, "score was stopped"};
    size_t end = begin;
    for (int64_t tokens = 0; end < all.size() && tokens < batch_tokens; ++end)
      tokens += static_cast<int64_t>(all[end].size());
    TW_ASSIGN(const auto logprobs, scorer.score(all.subspan(begin, end - begin)));
    for (size_t s = begin; s < end; ++s) {
      const auto line = line_of(logprobs[s - begin]);
      if (!line.ok()) return bad_input(sequences.place_of(s) + line.error().message);
      std::fputs(line->c_str(), stdout);
    }
    TW_TRY(flush_output());
    begin = end;
  }
  return {};
}

struct Options {
  std::string model_dir;
  std::string adapter_dir;
  std::string in_file;
  std::string dtype = "stored";
  ScorerOptions scorer;
};

Result<void> run(const Options& options) {
  TW_ASSIGN(ModelFolder model, load_model_weights(options.model_dir));
  if (options.dtype != "stored") {
    cast_model(model, options.dtype == "float32" ? ModelDtype::kFloat32 : ModelDtype::kBfloat16);
  }
  if (!options.adapter_dir.empty()) TW_TRY(merge_adapter_folder(model, options.adapter_dir));
  TW_ASSIGN(const Sequences sequences, read_input(options.in_file, model.config));
  // Only now, so that a signal while input is awaited ends the program at once.
  const std::stop_token stop = stop_on_signals();
  TW_ASSIGN(const auto scorer, make_scorer(model.config, model.weights, options.scorer));
  return score(*scorer, sequences, options.scorer.max_batch_tokens, stop);
}

}  // namespace

int cmd_score(const Args& args) {
  CLI::App app(
      "Log-probabilities of given token ids: JSON lines {\"tokens\": [n]} in, "
      "{\"logprobs\": [n - 1]} out, in nats, of tokens[1..]. Needs no tokenizer. Bad input "
      "leaves no output.",
      "tracewise score");
  Options options;
  options.scorer.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  app.add_option("--model", options.model_dir, "Hugging Face folder")->required()->type_name("DIR");
  app.add_option("--adapter", options.adapter_dir, "add this adapter (PEFT folder) to the weights")
      ->type_name("DIR");
  app.add_option("--in", options.in_file, "read this file instead of standard input")
      ->type_name("FILE");
  app.add_option("--dtype", options.dtype, "compute in stored (default), float32 or bfloat16")
      ->check(CLI::IsMember({"stored", "float32", "bfloat16"}).description(""))
      ->type_name("DTYPE");
  app.add_option("--threads", options.scorer.threads, "compute threads; default: all cores")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N");
  app.add_option("--device", options.scorer.device, "cpu or cuda:N; default: cpu")
      ->type_name("DEVICE");
  if (const auto exit = parse_args(app, args)) return *exit;
  const auto result = run(options);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
