package io.mobilemod.core.harness

import io.mobilemod.core.JsonException
import io.mobilemod.core.JsonObject
import java.io.File

/** A job that can't be run; the message names what is wrong. */
class JobException(
    message: String,
) : Exception(message)

private val PART = Regex("[A-Za-z0-9._-]{1,255}")
private val ID = Regex("[0-9a-f]{64}")

/** Whether [path] is one that a job may name: relative, plain parts, none `.` or `..`. */
fun isSafePath(path: String): Boolean = path.split('/').all { PART.matches(it) && it != "." && it != ".." }

/** Whether [id] is a job's: 64 lower-case hex digits. */
fun isJobId(id: String): Boolean = ID.matches(id)

/** A file of the job folder, and what it must hash to. */
data class Content(
    val path: String,
    val sha256: String,
)

/** A model file; [twin] names the float file that it is timed against in turns. */
data class JobFile(
    val name: String,
    val content: Content,
    val target: String,
    val twin: String?,
)

/** The images: each a file, or [packed] pixels of [height] x [width]. */
data class Inputs(
    val images: List<Content>,
    val packed: Content?,
    val height: Int,
    val width: Int,
    val count: Int,
)

/** One way to run one file: a unit of work; [selfTestOnly] asks for its golden images alone. */
data class Configuration(
    val index: Int,
    val file: JobFile,
    val threads: Int,
    val delegate: String,
    val selfTestOnly: Boolean,
)

/** How latency is measured. */
data class LatencyPlan(
    val warmUpSeconds: Double,
    val warmUpMax: Int,
    val minRuns: Int,
    val minSeconds: Double,
    val coldStarts: Int,
)

/** A `job.json`, checked: every path is safe, every name it refers to exists. */
data class Job(
    val id: String,
    val manifest: Content,
    val files: List<JobFile>,
    val inputs: Inputs,
    val golden: List<Content>,
    val configurations: List<Configuration>,
    val accuracy: Boolean,
    val latency: LatencyPlan?,
    val sustainedSeconds: Double,
    val logits: Boolean,
) {
    /** The id as lines carry it. */
    val shortId: String get() = id.take(SHORT)

    /** Configurations that aren't there for their self-test alone. */
    val measured: List<Configuration> get() = configurations.filter { !it.selfTestOnly }

    /**
     * Configurations that are timed in turns, an int8 file's and its twin's of the same threads and
     * delegate, and others alone; in the order of the groups' first configurations.
     */
    fun timedGroups(): List<List<Configuration>> {
        val taken = HashSet<Configuration>()
        val groups = ArrayList<List<Configuration>>()
        for (one in measured) {
            val twin =
                measured.find {
                    it.file.name == one.file.twin && it.threads == one.threads && it.delegate == one.delegate && it !in taken
                }
            if (twin == null || one in taken) continue
            groups.add(listOf(one, twin))
            taken.addAll(listOf(one, twin))
        }
        measured.filter { it !in taken }.mapTo(groups) { listOf(it) }
        return groups.sortedBy { group -> group.minOf { it.index } }
    }

    companion object {
        const val SCHEMA = "mobilemod/job/1"
        const val FILE = "job.json"
        private const val SHORT = 16

        /** From `job.json` in [folder]; throws [JobException]. */
        fun read(folder: File): Job {
            val file = File(folder, FILE)
            if (!file.isFile) throw JobException("$folder has no $FILE")
            return parse(file.readText())
        }

        /** From [text]; throws [JobException]. */
        fun parse(text: String): Job =
            try {
                of(JsonObject.parse(text, FILE))
            } catch (error: JsonException) {
                throw JobException(error.message!!)
            }

        private fun of(json: JsonObject): Job {
            val schema = json.text("schema")
            if (schema != SCHEMA) throw JobException("$FILE: schema '$schema'; this app reads $SCHEMA")
            val id = json.text("id")
            if (!isJobId(id)) throw JobException("$FILE: the id is not 64 hex digits")
            val files = json.objects("files").map(::jobFile)
            return Job(
                id,
                content(json.child("manifest")),
                files,
                inputs(json.child("inputs")),
                json.objects("golden").map(::content),
                json.objects("configurations").mapIndexed { i, it -> configuration(i, it, files) },
                json.flag("accuracy"),
                json.childOrNull("latency")?.let(::latency),
                seconds(json, "sustained_seconds"),
                json.flag("logits"),
            )
        }

        private fun content(json: JsonObject): Content {
            val path = json.text("path")
            if (!isSafePath(path)) throw JobException("$FILE: path '${path.take(60)}' may not be opened")
            return Content(path, json.text("sha256"))
        }

        private fun jobFile(json: JsonObject) = JobFile(json.text("name"), content(json), json.text("target"), json.textOrNull("twin"))

        private fun inputs(json: JsonObject): Inputs {
            val count = json.whole("count", atLeast = 0)
            val items = json.objects("items")
            val kind = json.text("kind")
            if (items.size != count) throw JobException("$FILE: ${items.size} inputs, count $count")
            if (kind == "images") return Inputs(items.map(::content), null, 0, 0, count)
            if (kind != "pixels") throw JobException("$FILE: inputs of kind '$kind'; this app reads images and pixels")
            val shape = json.numbers("shape").map { it.toInt() }
            if (shape.size != 4 || shape[0] != count || shape[1] < 1 || shape[2] < 1 || shape[3] != 3) {
                throw JobException("$FILE: inputs of shape $shape, not [$count, H, W, 3]")
            }
            return Inputs(emptyList(), content(json), shape[1], shape[2], count)
        }

        private fun configuration(
            index: Int,
            json: JsonObject,
            files: List<JobFile>,
        ): Configuration {
            val name = json.text("file")
            val file = files.find { it.name == name } ?: throw JobException("$FILE: configuration $index: no file '$name'")
            val (threads, delegate) = json.whole("threads", atLeast = 1) to json.text("delegate")
            return Configuration(index, file, threads, delegate, json.flag("self_test_only"))
        }

        private fun latency(json: JsonObject) =
            LatencyPlan(
                seconds(json, "warm_up_seconds"),
                json.whole("warm_up_max", atLeast = 0),
                json.whole("min_runs", atLeast = 0),
                seconds(json, "min_seconds"),
                json.whole("cold_starts", atLeast = 0),
            )

        private fun seconds(
            json: JsonObject,
            key: String,
        ): Double =
            json.number(key).also {
                if (!it.isFinite() || it < 0) throw JobException("$FILE: $key $it is not a time")
            }
    }
}
