UPDATE qengine_audit SET jobs = :jobs WHERE id = :id
