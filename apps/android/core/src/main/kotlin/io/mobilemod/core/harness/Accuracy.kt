package io.mobilemod.core.harness

/** Of one file: how many of the pictures that it answered it got right. */
data class FileAccuracy(
    val file: JobFile,
    val right: Int,
    val answered: Int,
) {
    val percent: Double get() = if (answered == 0) 0.0 else 100.0 * right / answered
}

/** A picture that a file and its float twin see differently. */
data class Change(
    val picture: Int,
    val target: Int,
    val answer: Int,
    val twinAnswer: Int,
)

/** A file beside its float twin, on the pictures that both answered. [drop]: points lost, twin's minus its own. */
data class Against(
    val file: JobFile,
    val twin: JobFile,
    val drop: Double,
    val changes: List<Change>,
)

/** What the lines of a [LabelledJob]'s stream say: the best class of each picture against its label. */
class Accuracy(
    private val labelled: LabelledJob,
    lines: Sequence<String>,
) {
    private val job = labelled.job
    private val told = ArrayList<String>()
    private val best = job.files.associate { it.name to HashMap<Int, Int>() }

    init {
        for (line in lines) {
            val values = Lines.decode(line) ?: continue
            if (values["job"] != job.shortId) continue
            when (values["type"]) {
                "image" -> answer(values)
                "error", "unavailable", "unreadable" -> (values["message"] as? String)?.let(told::add)
            }
        }
    }

    private fun answer(values: Map<String, Any?>) {
        val index = (values["configuration"] as? Long)?.toInt() ?: return
        val configuration = job.configurations.getOrNull(index) ?: return
        val picture = (values["image"] as? Long)?.toInt() ?: return
        if (picture !in labelled.targets.indices) return
        // Where nothing is finite there is no best class, which is wrong but an answer.
        val first = (values["top"] as? List<*>)?.firstOrNull() as? List<*>
        best.getValue(configuration.file.name)[picture] = (first?.get(0) as? Long)?.toInt() ?: NO_CLASS
    }

    /** What couldn't be read or run, each once. */
    val problems: List<String> get() = told.distinct()

    /** Each file, in the job's order. */
    fun files(): List<FileAccuracy> =
        job.files.map { file ->
            val answers = best.getValue(file.name)
            FileAccuracy(file, right(answers, answers.keys), answers.size)
        }

    /** Each file that has a float twin, where a picture was answered by both. */
    fun against(): List<Against> =
        job.files.mapNotNull { file ->
            val twin = job.files.find { it.name == file.twin } ?: return@mapNotNull null
            val (own, others) = best.getValue(file.name) to best.getValue(twin.name)
            val both = own.keys.filter(others::containsKey).sorted()
            if (both.isEmpty()) return@mapNotNull null
            val changes =
                both
                    .filter { own[it] != others[it] }
                    .map { Change(it, labelled.targets[it], own.getValue(it), others.getValue(it)) }
            Against(file, twin, 100.0 * (right(others, both) - right(own, both)) / both.size, changes)
        }

    private fun right(
        answers: Map<Int, Int>,
        pictures: Collection<Int>,
    ) = pictures.count { answers[it] == labelled.targets[it] }

    private companion object {
        const val NO_CLASS = -1
    }
}
