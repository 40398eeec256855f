package io.mobilemod.core.harness

import io.mobilemod.core.JsonException
import io.mobilemod.core.JsonObject
import java.io.File

/** What of a job needs no second run: answered images by file name, finished (configuration, phase). */
class Progress(
    private val job: Job,
) {
    private val answered = job.files.associate { it.name to BooleanArray(job.inputs.count) }
    private val finished = HashSet<Pair<Int, String>>()

    /** Whether [file] has answered input [image]. */
    fun isAnswered(
        file: JobFile,
        image: Int,
    ): Boolean = answered.getValue(file.name)[image]

    /** The inputs that [file] has not answered. */
    fun left(file: JobFile): List<Int> = (0 until job.inputs.count).filter { !isAnswered(file, it) }

    /** Whether [phase] of [configuration] is finished; accuracy isn't while answers are missing. */
    fun isFinished(
        configuration: Configuration,
        phase: String,
    ): Boolean = configuration.index to phase in finished && (phase != "accuracy" || left(configuration.file).isEmpty())

    /** Input [image] can't be decoded here: that counts as every file's answer. */
    fun addUnreadable(image: Int) {
        answered.values.forEach { it[image] = true }
    }

    /** Takes over `resume.json`'s [text]; one of another job is left aside. */
    fun addResume(text: String) {
        val json =
            try {
                JsonObject.parse(text, RESUME)
            } catch (error: JsonException) {
                throw JobException(error.message!!)
            }
        try {
            if (json.text("schema") != SCHEMA) throw JobException("$RESUME: schema is not $SCHEMA")
            if (json.text("job") != job.id) return
            val ranges = json.child("answered")
            for (name in ranges.keys) ranges.list(name).forEach { markRange(name, it) }
            json.list("finished").forEach { markFinished(it) }
        } catch (error: JsonException) {
            throw JobException(error.message!!)
        }
    }

    /** Takes over the lines of a stream; damaged ones and other jobs' count for nothing. */
    fun addStream(lines: Sequence<String>) {
        for (line in lines) {
            val values = Lines.decode(line) ?: continue
            if (values["job"] != job.shortId) continue
            if (values["type"] == "unreadable") {
                val image = values["image"] as? Long ?: continue
                if (image in 0 until job.inputs.count) addUnreadable(image.toInt())
            }
            val index = values["configuration"] as? Long ?: continue
            val configuration = job.configurations.find { it.index.toLong() == index } ?: continue
            when (values["type"]) {
                "image" -> (values["image"] as? Long)?.let { mark(configuration.file.name, it, it) }
                "unavailable" -> addUnavailable(configuration)
                "finished" -> (values["phase"] as? String)?.let { finished.add(configuration.index to it) }
            }
        }
    }

    /** [configuration] can't be run here: nothing more of it is asked for. */
    private fun addUnavailable(configuration: Configuration) {
        PHASES.mapTo(finished) { configuration.index to it }
        val first = job.measured.find { it.file == configuration.file }
        if (first == configuration) answered.getValue(configuration.file.name).fill(true)
    }

    private fun markRange(
        name: String,
        range: Any?,
    ) {
        val ends = (range as? List<*>)?.map { it as? Long ?: throw JobException("$RESUME: a range of $name is not two numbers") }
        if (ends?.size != 2) throw JobException("$RESUME: a range of $name is not two numbers")
        mark(name, ends[0], ends[1])
    }

    private fun mark(
        name: String,
        first: Long,
        last: Long,
    ) {
        val file = answered[name] ?: return
        for (i in maxOf(first, 0L)..minOf(last, file.size - 1L)) file[i.toInt()] = true
    }

    private fun markFinished(item: Any?) {
        val pair = item as? List<*>
        val configuration = pair?.getOrNull(0) as? Long
        val phase = pair?.getOrNull(1) as? String
        if (configuration == null ||
            phase == null
        ) {
            throw JobException("$RESUME: 'finished' holds something else than [configuration, phase]")
        }
        finished.add(configuration.toInt() to phase)
    }

    companion object {
        const val SCHEMA = "mobilemod/resume/1"
        const val RESUME = "resume.json"
        private val PHASES = listOf("golden", "accuracy", "latency", "sustained")

        /** From `resume.json` in the job's [folder] and the device's own [stream], where they exist. */
        fun read(
            job: Job,
            folder: File,
            stream: File?,
        ): Progress {
            val progress = Progress(job)
            val resume = File(folder, RESUME)
            if (resume.isFile) progress.addResume(resume.readText())
            if (stream != null && stream.isFile) stream.useLines { progress.addStream(it) }
            return progress
        }
    }
}
